"""From installation to prediction nothing goes out on a network, and nothing is written outside the home."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from outside import ANYTHING_SERVES
from short import few, words

from reverie.device_runtime.engine.installed import ORDINARY, installed_engine

CHANGING = (
    "openat,open,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,"
    "rmdir,truncate,chmod,fchmodat,chown,lchown,fchownat,utimensat,setxattr"
)
NOT_ON_DISK = ("/proc/self/", "/dev/null")

JOB = f"""{ANYTHING_SERVES}
{words(few)}
import os, sys
from reverie.tools.cli import main
bundle, frames, home = sys.argv[1:4]
for arguments in (
    ("install", bundle, "--home", home),
    ("update", "--home", home, "--frames", frames, "--max-minutes", "0.02"),
    ("predict", frames, "--home", home),
    ("status", "--home", home),
):
    sys.argv = ["reverie", *arguments]
    main()
exec(os.environ.get("PLANTED", ""))
"""

EXACT = f"""{ANYTHING_SERVES}
{words(few)}
import sys
from pathlib import Path
from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.config import UpdateConfig
from reverie.tools.bench.frames import read_frames
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.method.monitor import Monitor
bundle, frames, home = map(Path, sys.argv[1:4])
installation.install(bundle, home)
monitor = Monitor()
with transaction.changing(home) as journal, monitor.stage("frames") as reading:
    read = read_frames(frames, InputMaker(bundle, read_manifest(bundle)), 5)
    transaction.begin(home, journal, read, UpdateConfig(), reading)
    transaction.go_on(home, journal)
"""


def run(script, *arguments, under=(), planted=""):
    return subprocess.run(
        [*map(str, under), sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"PLANTED": planted, "PYTHONDONTWRITEBYTECODE": "1", "PATH": ""},
    )


def internet_calls(log):
    """Calls of a trace that name the internet's families of addresses."""
    return [line for line in log.read_text(encoding="utf-8").splitlines() if re.search(r"AF_INET|AF_PACKET", line)]


def paths_changed(log):
    """Paths that calls of a trace could have changed on a disk."""
    for line in log.read_text(encoding="utf-8").splitlines():
        opened = re.search(r"\b(open|openat)\(", line)
        if "sa_family" in line or line.endswith(("ENOENT (No such file or directory)", "EEXIST (File exists)")):
            continue
        if opened and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", line):
            continue
        yield from (path for path in re.findall(r'"([^"]*)"', line) if not path.startswith(NOT_ON_DISK))


@pytest.fixture(scope="module")
def traced(strace, bundle, frames_folder, tmp_path_factory):
    """planted code → home and trace of the whole job with it at the end."""
    folder = tmp_path_factory.mktemp("traced")
    under = (strace, "-f", "-qq", "-s", "4096", "-e", f"trace=%network,{CHANGING}")

    def trace(planted=""):
        home, log = folder / "home", folder / "log"
        subprocess.run(["rm", "-rf", home, log], check=True)
        done = run(JOB, bundle, frames_folder, home, under=(*under, "-o", log), planted=planted)
        assert done.returncode == 0, done.stderr
        assert f"{home} now serves generation 0001" in " ".join(done.stdout.split())
        return home, log

    return trace


@pytest.fixture(scope="module")
def plain(traced):
    return traced()


def test_no_address_of_the_internet_is_ever_named(plain):
    assert internet_calls(plain[1]) == []


def test_nothing_is_written_outside_the_home(plain):
    home, log = plain
    changed = set(paths_changed(log))
    assert any(path.startswith(str(home / "generations/.0001.partial")) for path in changed)
    assert {path for path in changed if not Path(path).is_relative_to(home)} - {str(home.parent)} == set()


def test_a_leak_and_a_file_left_elsewhere_would_be_seen(traced, tmp_path):
    elsewhere = str(tmp_path / "copy.png")
    home, log = traced(
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9)); s.close(); "
        f"open({elsewhere!r}, 'wb').close()"
    )
    assert len(internet_calls(log)) == 2
    assert {path for path in paths_changed(log) if not Path(path).is_relative_to(home)} == {elsewhere}


REPORTS = """
import sys
from pathlib import Path
{load}
import numpy as np
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
session.run(None, {{"input": np.zeros((1, 1, 14, 14), np.float32)}})
print(*(Path(task, "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()), sep="\\n")
"""
"""Runs a model in an engine that was loaded in some way, and prints the names of this process's threads."""


@pytest.mark.parametrize("how", ["as ours", "as it is"])
def test_the_engine_writes_no_report_of_its_own(how, bundle, tmp_path):
    ours = "from reverie.device_runtime.engine.runtime import ort as onnxruntime"
    script = REPORTS.format(load=ours if how == "as ours" else "import onnxruntime")
    environment = {"HOME": str(tmp_path), "PATH": "", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-B", "-c", script, bundle / "solver.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    reported = any(path.name == ".onnxruntime" for path in tmp_path.rglob("*"))
    if how == "as ours":
        assert not reported
        assert len(set(done.stdout.split())) == 1  # all threads carry the process's own name
    elif installed_engine().name == ORDINARY:
        assert reported  # so the test above would see it


def test_without_a_network_an_update_ends_in_the_same_weights(without_network, bundle, frames_folder, tmp_path, tree):
    for name, under in (("on", ()), ("off", without_network)):
        done = run(EXACT, bundle, frames_folder, tmp_path / name, under=under)
        assert done.returncode == 0, done.stderr
    models = {
        name: {path: digest for path, digest in tree(tmp_path / name / "generations").items() if path.endswith(".onnx")}
        for name in ("on", "off")
    }
    assert len(models["on"]) == 6
    assert models["on"] == models["off"]


def test_without_a_network_a_leak_reaches_nobody(without_network, bundle, frames_folder, tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(10)
        leak = f"import socket; socket.create_connection({server.getsockname()!r}).sendall(b'leak')"
        done = run(JOB, bundle, frames_folder, tmp_path / "open", planted=leak)
        assert done.returncode == 0, done.stderr
        with closing(server.accept()[0]) as caught:
            assert caught.recv(4) == b"leak"
        done = run(JOB, bundle, frames_folder, tmp_path / "closed", planted=leak, under=without_network)
        assert "Network is unreachable" in done.stderr

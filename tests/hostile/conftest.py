"""What all hostile cases share: a bundle to spoil, and a way to run many commands and see how each ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reverie.device_runtime.bundle.contents import fingerprint
from reverie.device_runtime.bundle.manifest import MANIFEST

MEGABYTES = 300
RUNNER = Path(__file__).with_name("runner.py")


@pytest.fixture(scope="module")
def run_all(tmp_path_factory):
    """Run commands, lists of arguments by name, and return how each ended, by name."""

    def run(commands):
        listed = tmp_path_factory.mktemp("commands") / "commands.json"
        listed.write_text(json.dumps([[str(a) for a in arguments] for arguments in commands.values()]), "utf-8")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, RUNNER, listed], capture_output=True, check=True, timeout=600, env=environment
        )
        return dict(zip(commands, json.loads(done.stdout), strict=True))

    return run


@pytest.fixture(scope="module")
def assert_refused():
    """One line that is ours and holds the words, exit code 1, and no more memory than a small box has to spare."""

    def check(ended, says):
        assert ended["code"] == 1, ended
        lines = [line for line in ended["said"].splitlines() if not line.startswith("libpng ")]  # it speaks for itself
        assert len(lines) == 1, ended
        assert lines[0].startswith("reverie: "), ended
        assert says in ended["said"]
        assert ended["megabytes"] < MEGABYTES, ended

    return check


@pytest.fixture(scope="module")
def spoiled(bundle, tmp_path_factory):
    """A copy of the bundle in which `spoil(folder)` changed something."""

    def make(spoil):
        folder = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("spoiled") / "bundle"))
        spoil(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def put():
    """Put `content` into a bundle folder under `name`, with its hash in the manifest: only what it says is wrong."""

    def write(folder, name, content):
        (folder / name).write_bytes(content)
        values = json.loads((folder / MANIFEST).read_text("utf-8"))
        values["files"][name] = vars(fingerprint(content))
        (folder / MANIFEST).write_text(json.dumps(values), "utf-8")

    return write

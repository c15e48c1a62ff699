"""The systemd units, as systemd reads them, and the update under what they forbid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from outside import ANYTHING_SERVES, require
from short import few, words

FORBIDDING = """
import ctypes, os, sys
PR_SET_MDWE = 65
if ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0):
    sys.exit("this kernel cannot forbid memory that is written and executed")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
AS_ROOT_ALONE = {"fchown"}  # SQLite gives its files to the owner of the database, where it may
RUN = f"""{ANYTHING_SERVES}
{words(few)}
import sys
from reverie.tools.cli import main
sys.argv[0] = "reverie"
main()
"""


@pytest.fixture
def units(reverie, home, tmp_path):
    folder = tmp_path / "units"
    folder.mkdir()
    done = reverie("service", "--home", home, "--output", folder, "--user", "reverie")
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def systemd_analyze():
    return require("systemd-analyze", "--version")


def allowed_calls(systemd_analyze, group):
    """System calls of a group such as @system-service, and of the groups in it."""
    listed = subprocess.run([systemd_analyze, "syscall-filter", group], capture_output=True, text=True, check=True)
    names = [line.strip() for line in listed.stdout.splitlines()[1:] if line.strip() and "#" not in line]
    return {call for name in names for call in (allowed_calls(systemd_analyze, name) if name[0] == "@" else [name])}


def test_the_units_name_this_home_and_this_installation(units, home):
    service = (units / "reverie-update.service").read_text(encoding="utf-8")
    assert f"ExecStart={Path(sys.executable).with_name('reverie')} update --home {home}\n" in service
    assert f"ReadWritePaths={home}\n" in service
    assert "User=reverie\n" in service
    timer = (units / "reverie-update.timer").read_text(encoding="utf-8")
    assert f"ConditionDirectoryNotEmpty={home}/update\n" in timer
    assert not re.search(r"[{}]", service + timer)


def test_a_path_that_a_unit_cannot_hold_is_refused(reverie, home):
    odd = home.rename(home.with_name("a home"))
    done = reverie("service", "--home", odd, "--output", home.parent)
    assert done.code == 1
    assert "use a path without spaces" in done.err
    assert not list(home.parent.glob("*.service"))


def test_systemd_understands_the_units_and_finds_little_exposed(systemd_analyze, units):
    for name in ("reverie-update.service", "reverie-update.timer"):
        done = subprocess.run([systemd_analyze, "verify", units / name], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    arguments = ("security", "--offline=true", "--threshold=10", units / "reverie-update.service")
    done = subprocess.run([systemd_analyze, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_an_update_makes_no_system_call_that_the_unit_forbids(systemd_analyze, strace, home, frames_folder, tmp_path):
    log = tmp_path / "log"
    update = ("update", "--home", home, "--frames", frames_folder, "--max-minutes", "0.02")
    done = subprocess.run(
        [strace, "-f", "-qq", "-o", log, sys.executable, "-c", RUN, *map(str, update)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = set(re.findall(r"^\d+ +(\w+)\(", log.read_text(encoding="utf-8"), re.MULTILINE))
    allowed = allowed_calls(systemd_analyze, "@system-service") - allowed_calls(systemd_analyze, "@privileged")
    assert made - allowed - AS_ROOT_ALONE == set()
    assert "read" in made


def test_an_update_needs_no_memory_that_is_written_and_executed(home, frames_folder):
    update = ("update", "--home", home, "--frames", frames_folder, "--max-minutes", "0.02")
    done = subprocess.run(
        [sys.executable, "-c", FORBIDDING, "-c", RUN, *map(str, update)], capture_output=True, text=True, check=False
    )
    if "this kernel cannot" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert "now serves generation 0001" in " ".join(done.stdout.split())


def test_a_home_of_nobody_that_the_machine_knows_needs_a_user(reverie, home, tmp_path, monkeypatch):
    def unknown(_path):
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(Path, "owner", unknown)
    done = reverie("service", "--home", home, "--output", tmp_path / "units")
    assert (done.code, len(done.err.splitlines()), "--user" in done.err) == (1, 1, True)

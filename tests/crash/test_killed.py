"""Killed at every operation on the disk: all old or all new, no leftover after the next command, the same result."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from crash_support import PARTS, Snapshots, begin, check_whole, counted, entries, go_on

from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.errors import HomeError
from reverie.device_runtime.home import disk
from reverie.device_runtime.home.pictures import SYNTHESISED

OPERATIONS = "create write sync mkdir rename remove reserve commit"


def test_an_update_killed_at_any_operation_leaves_all_old_or_all_new_and_goes_on_to_the_same_weights(
    cut, fast_folder, next_command
):
    snapshots = Snapshots(cut, fast_folder / "snapshots")
    with disk.watched(snapshots):
        go_on(cut)
    assert {operation.kind for operation, _ in snapshots.taken} == set(OPERATIONS.split())
    serving = [next_command(home) for _, home in snapshots.taken]
    assert sorted(serving) == serving  # old until some operation, new ever after
    assert set(serving) == {"0000", "0001"}


def test_killed_while_an_update_is_being_stored_it_has_begun_or_it_has_not(
    home, frames, tiny, fast_folder, begun, next_command
):
    snapshots = Snapshots(home, fast_folder / "snapshots")
    with disk.watched(snapshots):
        begin(home, frames, tiny)
    none = entries(home) - {"update", "update/frames-0.npz", "update/inputs-0.rows"}
    for _, copy in snapshots.taken:
        next_command(copy)
        assert entries(copy) == none
    next_command(home)
    assert entries(begun) - none == {"update", "update/frames-0.npz", "update/inputs-0.rows"}


def test_an_installation_killed_at_any_operation_is_whole_or_begins_anew(bundle, fast_folder, tree):
    home = fast_folder / "boxes/home"
    snapshots = Snapshots(home, fast_folder / "snapshots")
    with disk.watched(snapshots):
        installation.install(bundle, home)
    expected = entries(home)
    installed = 0
    for operation, copy in snapshots.taken:
        try:
            installation.install(bundle, copy)
        except HomeError:
            installed += 1
            with transaction.changing(copy):
                pass
        assert check_whole(copy) == "0000", operation
        assert entries(copy) == expected, operation
    assert installed == 2  # after the mark is there, it is synced, and what is left over is removed
    digests = tree(home / "bundles")
    assert all(tree(copy / "bundles") == digests for _, copy in snapshots.taken)


RUN = """
import os, signal, sys
from pathlib import Path
from reverie.device_runtime.home import disk
from reverie.device_runtime.changes import installation, transaction
home, at, bundle = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
seen = 0
def kill(operation):
    global seen
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)
with disk.watched(kill):
    if bundle:
        installation.install(Path(bundle), home)
    else:
        with transaction.changing(home) as journal:
            transaction.go_on(home, journal, save_seconds=0.0)
"""


def run(*arguments, under=()):
    return subprocess.run(
        [*map(str, under), sys.executable, "-c", RUN, *map(str, arguments)], capture_output=True, check=False
    )


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_process_killed_during_an_update_releases_its_lock_and_leaves_what_goes_on(
    cut, tmp_path, next_command, share
):
    counting = shutil.copytree(cut, tmp_path / "counting")
    with counted() as operations:
        go_on(counting)
    done = run(cut, round(share * len(operations)), "")
    assert done.returncode == -signal.SIGKILL, done.stderr
    next_command(cut)


@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_process_killed_during_an_installation_leaves_what_the_next_one_replaces(bundle, installed, tmp_path, share):
    with counted() as operations:
        installation.install(bundle, tmp_path / "counting")
    home = tmp_path / "home"
    done = run(home, round(share * len(operations)), bundle)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (home / "home.json").exists()
    installation.install(bundle, home)
    assert entries(home) == entries(installed)
    assert check_whole(home) == "0000"


@pytest.fixture(scope="module")
def strace():
    """strace, else skip."""
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed")
    if subprocess.run([path, "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    return path


CALLS = {"fsync": 0.3, "fdatasync": 0.6, "pwrite64": 0.5, "rename": 0.9, "mkdir": 0.9, "unlink": 0.6}
"""System calls that change a home, SQLite's among them, and which of their share is the one that kills."""


@pytest.fixture(scope="module")
def made(strace, begun, tmp_path_factory):
    """How often an update makes each call."""
    folder = tmp_path_factory.mktemp("counting")
    home, log = shutil.copytree(begun, folder / "home"), folder / "log"
    done = run(home, 0, "", under=(strace, "-f", "-qq", "-o", log, "-e", f"trace={','.join(CALLS)}"))
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^\d+ +(\w+)\(", log.read_text(encoding="utf-8"), re.MULTILINE)
    return {call: found.count(call) for call in CALLS}


@pytest.mark.parametrize("call", CALLS)
def test_an_update_killed_from_outside_at_a_system_call_goes_on_to_the_same_weights(
    strace, cut, tmp_path, next_command, made, call
):
    """Nothing in the process knows where. REVERIE_EVERY_CALL=1 kills at every one, which takes some minutes."""
    every = range(1, made[call] + 1)
    for at in every if os.environ.get("REVERIE_EVERY_CALL") == "1" else [every[int(CALLS[call] * len(every))]]:
        home = shutil.copytree(cut, tmp_path / f"{call}-{at}")
        inject = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={at}")
        done = run(home, 0, "", under=(strace, "-f", "-qq", *inject))
        assert done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, (at, done.stderr)
        next_command(home)
        shutil.rmtree(home)


def test_what_is_compared_would_notice_other_weights(cut, uncut):
    """The control: an update of another seed differs in every network."""
    networks = [name for name in uncut.weights if name.endswith(".onnx")]
    assert set(uncut.weights) - set(networks) == {SYNTHESISED}
    content = {name: (cut / "generations/0000" / name).read_bytes() for name in networks}
    assert len(content) == len(PARTS)
    assert all(content[name] != uncut.weights[name] for name in content)

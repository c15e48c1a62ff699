"""Power cuts at every operation, with writes that were lost, torn or came in another order: all old or all new."""

from __future__ import annotations

import shutil
from contextlib import closing

import numpy as np
import pytest
from crash_disk import CrashDisk
from crash_support import check_whole, cut_after, go_on

from reverie.device_runtime.changes import installation
from reverie.device_runtime.errors import ReverieError
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.method.monitor import STAGES

CHANCES = [(0.0, 1.0), (1.0, 1.0), (0.5, 0.5)]
"""Of entries to be kept and of bytes to be torn: all that is unsynced is lost; names without content; any mixture."""


def crashes(disk_, home, run, folder, chances=CHANCES):
    """What is left of `home` after a power cut at every operation of `run`, in a few versions each."""
    left = []

    def crash(operation):
        disk_(operation)
        for version, (kept, torn) in enumerate(chances):
            chance = np.random.default_rng([len(left), version])
            copy = folder / f"{len(left)}"
            disk_.crash(copy, chance, kept, torn)
            left.append((operation, copy))

    with disk.watched(crash):
        run(home)
    disk_.settle()
    return left


def check_nothing_lost(home):
    """All that the journal knows is there: a checkpoint was synced before it was noted."""
    with closing(Journal(home)) as journal:
        update = journal.in_progress()
        if update is not None and store.current(home) != update.generation:
            checkpoints = Checkpoints(home / "update", journal)
            noted = [stage for stage in STAGES if journal.checkpoint(stage)]
            assert "frames" in noted
            assert update.stage in {"", *noted}
            assert all(checkpoints.load(stage) is not None for stage in noted)


def test_power_cut_at_any_operation_of_an_update_leaves_all_old_or_all_new(cut, fast_folder, next_command):
    left = crashes(CrashDisk(cut), cut, go_on, fast_folder)
    serving = []
    for _, home in left:
        check_nothing_lost(home)
        serving.append(next_command(home))
        shutil.rmtree(home)
    assert set(serving) == {"0000", "0001"}
    assert "0000" not in serving[serving.index("0001") + 4 * len(CHANCES) :]  # it is durable some operations later
    assert len(left) > 300


def test_power_cut_at_any_operation_of_an_installation_leaves_a_whole_home_or_room_for_one(bundle, fast_folder):
    home = fast_folder / "home"
    home.mkdir()
    left = crashes(CrashDisk(home), home, lambda home: installation.install(bundle, home), fast_folder)
    marked = [(copy / "home.json").exists() for _, copy in left]
    assert 0 < sum(marked) < 5 * len(CHANCES)
    for at, (_, copy) in enumerate(left):
        if marked[at]:
            with closing(Journal(copy)) as journal:
                assert journal.updates() == []
        elif at % 11 == 0:
            installation.install(bundle, copy)
        else:
            continue
        assert check_whole(store.open_home(copy)) == "0000"


MISTAKES = {
    "files that are not synced": lambda op: op.kind == "sync" and op.path.suffix in {".onnx", ".json"},
    "folders that are not synced": lambda op: op.kind == "sync" and op.path.name in {".0001.partial", "0001"},
    "a pointer that is not synced": lambda op: op.kind == "sync" and op.path.name == ".current.partial",
    "checkpoints that are not synced": lambda op: op.kind == "sync" and op.path.suffix == ".npz",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_missing_sync_would_be_noticed(cut, fast_folder, mistake):
    """The control: each way of being careless loses something at one operation at least."""
    cut_after(cut, "generative update", 2)
    left = crashes(CrashDisk(cut, ignored=MISTAKES[mistake]), cut, go_on, fast_folder, CHANCES[:2])
    assert any(is_lost(home) for _, home in left)


def is_lost(home):
    try:
        check_nothing_lost(home)
        check_whole(home)
    except (ReverieError, AssertionError):
        return True
    return False

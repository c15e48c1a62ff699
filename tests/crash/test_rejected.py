"""An update that is not fit to serve is rejected as wholly as another is promoted, wherever it is cut off."""

from __future__ import annotations

import errno
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from crash_disk import CrashDisk
from crash_support import Failing, Killed, Snapshots, begin, check_whole, counted, cut_after, entries, go_on, until
from test_failing_disk import WRITES
from test_torn_writes import CHANCES, crashes

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.errors import RejectedError, StorageError
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.method.monitor import StageRecord


@pytest.fixture(scope="module")
def hopeless(installed, frames, tiny, tmp_path_factory):
    """A home with an update that cannot reach its floor, begun and cut off in its last step; only read."""
    home = Path(shutil.copytree(installed, tmp_path_factory.mktemp("hopeless") / "home"))
    begin(home, frames, replace(tiny, promotion=replace(tiny.promotion, floor=1.0)))
    cut_after(home, "generative update", 2)
    return home


@pytest.fixture
def cut(hopeless, fast_folder):
    return Path(shutil.copytree(hopeless, fast_folder / "cut"))


@pytest.fixture(scope="module")
def check_rejected(hopeless, tmp_path_factory):
    """The next command rejects what was cut off, and all is as if nothing had been. Homes in one state go on once."""
    uncut = Path(shutil.copytree(hopeless, tmp_path_factory.mktemp("after") / "home"))
    reject(uncut)
    gone_on = set()

    def check(home):
        with transaction.changing(home) as journal:
            update = journal.in_progress()
        assert check_whole(home) == "0000"
        assert store.generations(home) == ["0000"]
        if update is not None:
            state = (update.stage, update.step, update.attempts, frozenset(entries(home)))
            if state in gone_on:
                return
            gone_on.add(state)
            reject(home)
        assert entries(home) == entries(uncut)
        assert store.rejected(home) == ["0001"]
        assert not store.read_report(home, "0001")["promotion"]["promoted"]
        with closing(Journal(home)) as journal:
            (update,) = journal.updates()
            events = [entry.event for entry in journal.audit_log()]
        assert update.outcome == "rejected"
        assert "of held-out frames" in update.message
        assert events.count("update rejected") == 1

    return check


def reject(home):
    """Go on until it is rejected."""
    with pytest.raises(RejectedError, match="0001 was rejected and 0000 serves on"):
        go_on(home)


def test_a_rejected_update_killed_at_any_operation_is_rejected_by_the_next_command(cut, fast_folder, check_rejected):
    snapshots = Snapshots(cut, fast_folder / "snapshots")
    with disk.watched(snapshots):
        reject(cut)
    assert len(snapshots.taken) > 20
    for _, home in snapshots.taken:
        check_rejected(home)
    check_rejected(cut)


@pytest.mark.parametrize(("kinds", "code"), [(WRITES, errno.ENOSPC), ("sync", errno.EIO)])
def test_a_disk_that_fails_while_an_update_is_rejected_leaves_one_that_is_rejected_later(
    cut, fast_folder, check_rejected, kinds, code
):
    with counted() as operations:
        reject(Path(shutil.copytree(cut, fast_folder / "counting")))
    failed = 0
    for at in range(1, 1 + sum(operation.kind in kinds.split() for operation in operations), 2):
        home = Path(shutil.copytree(cut, fast_folder / "box"))
        try:
            with disk.watched(Failing(kinds, at, code)):
                go_on(home)
        except StorageError:
            failed += 1
        except RejectedError:
            pass
        check_rejected(home)
        shutil.rmtree(home)
    assert failed > 5


def test_power_cut_at_any_operation_of_a_rejection_never_lets_it_serve(cut, fast_folder, check_rejected):
    def run(home):
        with pytest.raises(RejectedError):
            go_on(home)

    left = crashes(CrashDisk(cut), cut, run, fast_folder, CHANCES[:2])
    assert len(left) > 50
    for at, (_, home) in enumerate(left):
        assert store.current(home) == "0000"
        if at % 7 == 0:
            check_rejected(home)


def test_decided_but_not_noted_the_next_update_or_drop_notes_it_first(cut, frames, tiny, fast_folder):
    with disk.watched(until(lambda op: op.kind == "commit" and store.rejected(cut) != [])), pytest.raises(Killed):
        go_on(cut)
    dropped = Path(shutil.copytree(cut, fast_folder / "dropped"))
    with transaction.changing(dropped) as journal:
        transaction.drop(dropped, journal)
        assert [update.outcome for update in journal.updates()] == ["rejected"]
    with transaction.changing(cut) as journal:
        transaction.begin(cut, journal, frames, replace(tiny, seed=5), StageRecord())
        assert [update.outcome for update in journal.updates()] == ["rejected", None]
        assert transaction.go_on(cut, journal).name == "0002"
    assert (store.generations(cut), store.rejected(cut)) == (["0000", "0002"], ["0001"])

"""A disk that is full or fails at any operation: one clear error, the service unchanged, later the update goes on."""

from __future__ import annotations

import errno
import shutil

import pytest
from crash_support import Failing, begin, check_whole, counted, cut_after, entries, go_on
from judged import serves

from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.errors import StorageError
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.journal import Journal

WRITES = "create write mkdir rename reserve commit"
FAULTS = [
    pytest.param(WRITES, errno.ENOSPC, False, "no space left", id="full at one write"),
    pytest.param(WRITES, errno.ENOSPC, True, "no space left", id="full from one write on"),
    pytest.param("sync", errno.EIO, False, "Input/output error", id="one sync fails"),
    pytest.param("sync", errno.EIO, True, "Input/output error", id="syncs fail from one on"),
]


def places(kinds, operations):
    """1, 2, ... for each operation of these kinds."""
    return range(1, 1 + sum(operation.kind in kinds.split() for operation in operations))


@pytest.fixture
def fails(tree):
    """Whether a command fails with one clear line on a disk with this fault; what was in service then still is."""

    def run(command, fault, says, home):
        before = tree(home / "generations/0000")
        try:
            with disk.watched(fault):
                command(home)
        except StorageError as error:
            message = str(error)
        else:
            return False
        assert says in message
        assert "\n" not in message
        assert store.current(home) == "0000"
        assert tree(home / "generations/0000") == before
        return True

    return run


@pytest.mark.parametrize(("kinds", "code", "lasting", "says"), FAULTS[1:3])
def test_an_update_on_a_failing_disk_leaves_the_service_unchanged_and_goes_on_when_it_is_well_again(
    cut, fast_folder, next_command, fails, kinds, code, lasting, says
):
    """From the last step of the last stage on: its checkpoint, the generation, the pointer, the end in the journal."""
    cut_after(cut, "generative update", 2)
    with counted() as operations:
        go_on(shutil.copytree(cut, fast_folder / "counting"))
    failed = []
    for at in places(kinds, operations):
        home = shutil.copytree(cut, fast_folder / "box")
        failed.append(fails(go_on, Failing(kinds, at, code, lasting=lasting), says, home))
        assert check_whole(home) == ("0000" if failed[-1] else "0001")
        next_command(home)
        shutil.rmtree(home)
    assert failed == sorted(failed, reverse=True)  # once the new generation serves, nothing matters to the service
    assert sum(failed) > 0.6 * len(failed)


@pytest.mark.parametrize(("kinds", "code", "lasting", "says"), FAULTS)
def test_an_update_that_cannot_be_stored_has_not_begun(home, frames, tiny, fast_folder, kinds, code, lasting, says):
    before = entries(home)
    with counted() as operations:
        begin(shutil.copytree(home, fast_folder / "counting"), frames, tiny)
    for at in places(kinds, operations):
        with disk.watched(Failing(kinds, at, code, lasting=lasting)), pytest.raises(StorageError, match=says):
            begin(home, frames, tiny)
        assert entries(home) == before, at
        with transaction.changing(home) as journal:
            assert journal.updates() == []


@pytest.mark.parametrize(("kinds", "code", "lasting", "says"), FAULTS)
def test_an_installation_on_a_failing_disk_leaves_nothing(bundle, fast_folder, tree, kinds, code, lasting, says):
    with counted() as operations:
        installation.install(bundle, fast_folder / "counting")
    shutil.rmtree(fast_folder / "counting")
    for at in places(kinds, operations):
        with disk.watched(Failing(kinds, at, code, lasting=lasting)), pytest.raises(StorageError, match=says):
            installation.install(bundle, fast_folder / "home")
        if lasting and kinds == "sync" and at == places(kinds, operations)[-1]:
            # The mark was there and its removal cannot be made durable: without the mark, the rest waits.
            assert not (fast_folder / "home/home.json").exists()
            installation.install(bundle, fast_folder / "home")
        else:
            assert tree(fast_folder) == {".": "folder"}, at


def test_a_sync_that_failed_is_never_tried_again_on_what_was_written(home, grown, fast_folder):
    """The system may have dropped what it could not write, and a second sync would not tell."""
    parent = store.read_generation(home)
    with counted() as operations:
        store.add_generation(shutil.copytree(home, fast_folder / "counting"), parent, grown, serves({}))
    files = 0
    for at in places("sync", operations):
        with counted() as seen, disk.watched(Failing("sync", at, errno.EIO)), pytest.raises(StorageError):
            store.add_generation(home, parent, grown, serves({}))
        failed = next(n for n, op in enumerate(seen) if [o.kind for o in seen[: n + 1]].count("sync") == at)
        kinds = [op.kind for op in seen[failed + 1 :] if op.path == seen[failed].path]
        if "create" in [op.kind for op in seen[:failed] if op.path == seen[failed].path]:
            files += 1
            assert "sync" not in kinds[: kinds.index("create") if "create" in kinds else None]
    assert files == 6  # three networks, report, record, pointer


def test_the_pointer_is_put_back_if_it_is_not_known_to_be_durable(home, grown):
    parent = store.read_generation(home)
    with counted() as operations:
        store.add_generation(shutil.copytree(home, home.with_name("counting")), parent, grown, serves({}))
    syncs = sum(op.kind == "sync" for op in operations)
    for lasting in (False, True):
        with disk.watched(Failing("sync", syncs, errno.EIO, lasting=lasting)), pytest.raises(StorageError):
            store.add_generation(home, parent, grown, serves({}))
        assert store.current(home) == "0000"
        # With a disk that keeps failing the new one stays: the pointer on the disk may be to it.
        assert store.generations(home) == (["0000", "0001"] if lasting else ["0000"])


def test_what_the_disk_does_not_give_back_never_serves(home, grown, monkeypatch):
    """The disk takes everything and keeps something else."""
    original = disk.sync_folder

    def sync_folder(folder):
        original(folder)
        if folder.name == ".0001.partial":
            path = folder / "solver.onnx"
            path.write_bytes(b"\0" * path.stat().st_size)

    monkeypatch.setattr(disk, "sync_folder", sync_folder)
    with pytest.raises(StorageError, match="the disk does not keep what is written to it"):
        store.add_generation(home, store.read_generation(home), grown, serves({}))
    assert (store.current(home), store.generations(home)) == ("0000", ["0000"])


def test_space_is_taken_before_the_work_and_given_back_for_the_generation(cut, monkeypatch):
    """Whatever else fills the disk meanwhile."""
    sizes = []

    def work(*_):
        sizes.append((cut / "update/reserved").stat())
        raise KeyboardInterrupt

    monkeypatch.setattr(transaction, "run_update", work)
    with pytest.raises(KeyboardInterrupt):
        go_on(cut)
    needed = sum(record.size for record in store.read_generation(cut).files.values())
    assert sizes[0].st_size >= needed
    assert sizes[0].st_blocks * 512 >= needed


def test_a_journal_that_is_none_is_told_in_one_line(home):
    (home / "journal.db").write_bytes(b"no database, " * 1000)
    with pytest.raises(StorageError, match=r"journal\.db .*not a database") as refused:
        Journal(home)
    assert "\n" not in str(refused.value)

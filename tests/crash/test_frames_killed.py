"""Frames, stopped at every operation on the disk: none that was stored is lost, and none that was purged comes back."""

from __future__ import annotations

import errno
import json
import shutil
from contextlib import closing

import numpy as np
import pytest
from crash_disk import CrashDisk
from crash_support import Failing, Snapshots, check_whole, counted, go_on

from reverie.device_runtime.bundle.preprocess import find_images
from reverie.device_runtime.changes import gathering, installation, purge, transaction
from reverie.device_runtime.config import IntakeConfig
from reverie.device_runtime.errors import FramesError, HomeError, StorageError
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.frames.gate import Gate
from reverie.device_runtime.home import disk, sealing, store
from reverie.device_runtime.home.audit import first_broken
from reverie.device_runtime.home.journal import Journal

CONFIG = IntakeConfig()


@pytest.fixture(scope="module")
def pictures(frames_folder):
    return {p.name: [f.read_bytes() for f in find_images(p)[:6]] for p in frames_folder.iterdir()}


@pytest.fixture(params=["plain", "sealed"])
def box(request, bundle, fast_folder):
    installation.install(bundle, fast_folder / "box", sealing_key="key" if request.param == "sealed" else None)
    return fast_folder / "box"


def add(home, label, content):
    with frame_store.opened(home) as frames:
        return Gate(frames, CONFIG).offer(label, content, "x")


@pytest.fixture
def filled(box, pictures):
    for label, contents in pictures.items():
        for content in contents:
            assert add(box, label, content) is None
    with frame_store.opened(box) as frames:
        frames.add("cup", pictures[label][0], "blurred")
    return box


def content_of(home):
    """What the next command finds: every frame can be read, and nothing is there that the journal does not name."""
    with frame_store.opened(home) as frames:
        found = [(f.label, frames.content(f), f.reason) for f in frames.frames()]
        files = {p.relative_to(home).as_posix() for p in home.glob("[fq]*/*/*")}
        assert files == {f.file for f in frames.frames()}
    with closing(Journal(home)) as journal:
        log = journal.audit_log()
        assert first_broken(log) is None
        noted = [json.loads(e.facts) for e in log]
    told = sum(sum(facts.get("labels", {}).values()) + sum(r[2] for r in facts.get("reasons", [])) for facts in noted)
    assert told >= len(found)
    assert not list(home.glob(".*"))
    return found


def killed_at_every_operation(home, run, folder):
    """Copies of `home` as a kill at each operation, or a power cut there, would leave it."""
    snapshots, crashing, cuts = Snapshots(home, folder / "snapshots"), CrashDisk(home), []

    def cut(operation):
        crashing(operation)
        cuts.append(folder / f"cut-{len(cuts)}")
        crashing.crash(cuts[-1], np.random.default_rng(len(cuts)), 0.5, 0.5)

    with disk.watched(snapshots), disk.watched(cut):
        run(home)
    return [copy for _, copy in snapshots.taken], cuts


def test_a_frame_is_stored_whole_or_not_at_all_and_no_other_is_lost(box, pictures, fast_folder):
    label, contents = next(iter(pictures.items()))
    for content in contents[:2]:
        add(box, label, content)
    old = content_of(box)
    new = [*old, (label, contents[2], None)]
    for copies in killed_at_every_operation(box, lambda home: add(home, label, contents[2]), fast_folder):
        found = [content_of(copy) for copy in copies]
        assert all(content in (old, new) for content in found)
        assert old in found
    assert content_of(box) == new


@pytest.mark.parametrize("change", ["release", "set aside"])
def test_a_frame_that_moves_is_in_one_place(filled, fast_folder, change):
    def move(home):
        with frame_store.opened(home) as frames:
            if change == "release":
                frames.release(frames.quarantined()[0].id)
            else:
                frames.set_aside(frames.stored()[0], "blurred")

    old = content_of(filled)
    copies = [copy for kind in killed_at_every_operation(filled, move, fast_folder) for copy in kind]
    new = content_of(filled)
    assert old != new
    assert [row[:2] for row in old] == [row[:2] for row in new]
    assert all(content_of(copy) in (old, new) for copy in copies)


@pytest.mark.parametrize("scope", [purge.Scope(), purge.Scope(label="cup")], ids=["all", "label"])
def test_a_purge_is_not_begun_or_finished_by_the_next_command(filled, fast_folder, tiny, scope):
    with transaction.changing(filled) as journal:
        gathering.begin(filled, journal, None, tiny)
    everything = scope == purge.Scope()

    def run(home):
        with transaction.changing(home) as journal:
            purge.purge(home, journal, scope)

    old = content_of(filled)
    killed, cuts = killed_at_every_operation(filled, run, fast_folder)
    new = content_of(filled)
    assert new == ([] if everything else [row for row in old if row[0] != "cup"])
    for copy in [*killed, *cuts]:
        with transaction.changing(copy) as journal:  # the next command, whatever it is
            dropped = journal.in_progress() is None
        key = sealing.key_path(copy)
        gone = key is not None and not key.exists()
        with closing(Journal(copy)) as journal:
            purged = any(entry.event == "purged" for entry in journal.audit_log())
        assert content_of(copy) == (new if purged else old)
        assert gone == (purged and everything and key is not None)
        assert dropped or not (purged and everything)
        run(copy)  # and to repeat it is always right
        assert content_of(copy) == new
        assert not everything or not list(copy.glob("[fqu]*/*"))


def test_an_update_of_stored_frames_loses_none_until_its_result_serves(filled, fast_folder, tiny):
    def update(home):
        with transaction.changing(home) as journal:
            gathering.begin(home, journal, None, tiny)
        go_on(home)

    old = content_of(filled)
    snapshots = Snapshots(filled, fast_folder / "snapshots")
    with disk.watched(snapshots):
        update(filled)
    assert content_of(filled) == []
    serving = []
    for at, (_, copy) in enumerate(snapshots.taken):
        if at % 3 and store.current(copy) == "0000":
            continue
        with transaction.changing(copy) as journal:
            in_progress = journal.in_progress() is not None
        serving.append(check_whole(copy))
        found = content_of(copy)
        if serving[-1] == "0000":
            assert found == old
        elif in_progress:
            go_on(copy)
            assert content_of(copy) == []
        else:
            assert found == []
    assert set(serving) == {"0000", "0001"}


@pytest.mark.parametrize(
    ("kinds", "code", "says"),
    [("create write mkdir commit", errno.ENOSPC, "no space left"), ("sync", errno.EIO, "Input/output error")],
    ids=["full", "failing"],
)
def test_a_frame_that_cannot_be_stored_is_told_and_leaves_nothing(box, pictures, kinds, code, says, fast_folder):
    label, contents = next(iter(pictures.items()))
    add(box, label, contents[0])
    old = content_of(box)
    counting = shutil.copytree(box, fast_folder / "counting")
    with counted() as operations:
        add(counting, "new", contents[1])
    count = sum(operation.kind in kinds.split() for operation in operations)
    assert count >= 3
    for at in range(1, count + 1):
        home = shutil.copytree(box, fast_folder / f"box-{at}")
        with disk.watched(Failing(kinds, at, code)), pytest.raises(StorageError, match=says):
            add(home, "new", contents[1])
        assert content_of(home) in (old, [*old, ("new", contents[1], None)])
        assert store.current(home) == "0000"


@pytest.mark.parametrize("carelessly", ["a file", "its folder"])
def test_a_frame_that_is_not_synced_would_be_noticed(box, pictures, fast_folder, carelessly):
    """The control: with either sync left out, a power cut loses a frame that the journal names."""
    label, contents = next(iter(pictures.items()))
    add(box, label, contents[0])
    kind = (".image", ".sealed") if carelessly == "a file" else ("",)
    careless = CrashDisk(box, ignored=lambda op: op.kind == "sync" and op.path.suffix in kind and op.path != box)
    with disk.watched(careless):
        add(box, label, contents[1])
    careless.settle()
    careless.crash(fast_folder / "cut", np.random.default_rng(0), 0.0, 1.0)
    with pytest.raises((FramesError, HomeError)):
        content_of(fast_folder / "cut")

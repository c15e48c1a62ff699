"""The frames of a home: private, within their quota, gone when learnt or purged, and sealed if that is wanted."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime import frame_store, gathering, purge, sealing, store, transaction
from reverie.device_runtime.audit import first_broken
from reverie.device_runtime.checkpoints import Checkpoints
from reverie.device_runtime.config import IntakeConfig
from reverie.device_runtime.errors import FramesError, HomeError
from reverie.device_runtime.gate import Gate
from reverie.device_runtime.home import UPDATE
from reverie.device_runtime.journal import Journal
from reverie.device_runtime.preprocess import find_images

CONFIG = IntakeConfig()


@pytest.fixture(scope="module")
def pictures(frames_folder):
    """label → contents of its image files."""
    return {p.name: [f.read_bytes() for f in find_images(p)] for p in frames_folder.iterdir()}


@pytest.fixture(params=["plain", "sealed"])
def box(request, home, bundle, tmp_path):
    """A home, plain or encrypted."""
    if request.param == "plain":
        return home
    store.install(bundle, tmp_path / "sealed", sealing_key="key")
    return tmp_path / "sealed"


@pytest.fixture
def fill(pictures):
    """Store `count` frames of each label."""

    def run(home, count=8):
        with frame_store.opened(home) as frames:
            gate = Gate(frames, CONFIG)
            for label, contents in pictures.items():
                assert {gate.offer(label, content, label) for content in contents[:count]} == {None}

    return run


@pytest.fixture
def begin(quick):
    def run(home, **options):
        with transaction.changing(home) as journal:
            gathering.begin(home, journal, None, quick, **options)

    return run


@pytest.fixture
def update(begin):
    def run(home, **options):
        begin(home, **options)
        with transaction.changing(home) as journal:
            return transaction.go_on(home, journal)

    return run


def events(home):
    with closing(Journal(home)) as journal:
        log = journal.audit_log()
    assert first_broken(log) is None
    return [(entry.event, json.loads(entry.facts)) for entry in log]


def kept(home):
    with frame_store.opened(home) as frames:
        return [(frame.label, frame.reason) for frame in frames.frames()]


def test_frames_that_are_stored_come_back_and_are_for_their_owner_alone(box, fill, pictures):
    fill(box)
    with frame_store.opened(box) as frames:
        assert [(f.label, frames.content(f)) for f in frames.stored()] == [
            (label, content) for label, contents in pictures.items() for content in contents[:8]
        ]
    for path in (p for p in box.rglob("*") if "bundles" not in p.parts):
        assert oct(path.stat().st_mode & 0o777) == ("0o700" if path.is_dir() else "0o600"), path
    assert ("frames added", {"labels": dict.fromkeys(sorted(pictures), 8)}) in events(box)
    assert not any(label in path.as_posix() for path in (box / "frames").rglob("*") for label in pictures)


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o277])
def test_a_home_is_private_whatever_the_umask_and_whatever_folder_it_was(bundle, tmp_path, fill, mask):
    (tmp_path / "home").mkdir(mode=0o755)
    before = os.umask(mask)
    try:
        store.install(bundle, tmp_path / "home", sealing_key="key")
        fill(tmp_path / "home", 1)
    finally:
        os.umask(before)
    for path in (tmp_path / "home", *(tmp_path / "home").rglob("*")):
        assert oct(path.stat().st_mode & 0o777) == ("0o700" if path.is_dir() else "0o600"), path


def test_stored_frames_are_learnt_and_gone_once_the_result_serves(box, fill, update, pictures):
    fill(box)
    assert set(pictures) < set(update(box).classes)
    assert kept(box) == []
    assert not list((box / "frames").glob("*"))
    assert not (box / UPDATE).exists()
    report = store.read_report(box, "0001")
    assert (report["set_aside"], sum(row["frames"] for row in report["classes"])) == ({}, 16)


def test_frames_come_in_while_an_update_runs_and_stay_as_do_frames_to_keep(box, fill, begin, update, pictures):
    fill(box)
    begin(box)
    label = next(iter(pictures))

    def listen(now):
        if (now.stage, now.step) == ("fine-tune", 2):
            with frame_store.opened(box) as frames:
                assert Gate(frames, CONFIG).offer(label, pictures[label][20], "new") is None
                frames.add(label, pictures[label][21], "blurred")

    with transaction.changing(box) as journal:
        transaction.go_on(box, journal, listen)
    assert kept(box) == [(label, None), (label, "blurred")]
    fill(box)
    update(box, keep_frames=True)
    assert len(kept(box)) == 18


def test_a_confirmed_update_removes_what_had_been_set_aside_before_it_and_keeps_what_it_set_aside(
    box, fill, update, pictures
):
    fill(box)
    label = next(iter(pictures))
    with frame_store.opened(box) as frames:
        frames.add(label, pictures[label][20], "blurred")
        blank = frames.add(label, _png(np.zeros((28, 28), np.uint8)))  # stored by a careless program
    update(box)
    assert kept(box) == [(label, "too dark")]
    assert store.read_report(box, "0001")["set_aside"] == {label: {"too dark": 1}}
    with frame_store.opened(box) as frames:
        frames.release(blank.id)
        with pytest.raises(FramesError, match="no frame 99 in quarantine"):
            frames.release(99)
    assert kept(box) == [(label, None)]


def test_frames_of_an_update_that_failed_or_was_dropped_stay(box, fill, begin):
    fill(box)
    begin(box)
    with transaction.changing(box) as journal:
        transaction.drop(box, journal)
    assert len(kept(box)) == 16
    begin(box)  # and can be learnt again
    with closing(Journal(box)) as journal:
        assert journal.in_progress() is not None


def test_too_few_frames_after_the_checks_are_told_with_their_reasons_and_change_nothing(home, fill, begin, tree):
    fill(home, 5)
    with frame_store.opened(home) as frames:
        for level in (0, 255):
            frames.add("cup", _png(np.full((28, 28), level, np.uint8)))
    before = tree(home / "frames")
    told = r"cup has 0 of 2 frames left, at least 5 are needed; set aside: 1 too dark, 1 too bright"
    with pytest.raises(FramesError, match=told):
        begin(home)
    assert tree(home / "frames") == before


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=12))
def test_the_quota_holds_and_only_what_was_set_aside_makes_room(quota_box, sizes):
    quota_box.reset()
    with frame_store.opened(quota_box.home, quota=100) as frames:
        stored = []
        for number, (size, aside) in enumerate(sizes):
            content = bytes([number]) * size
            try:
                frames.add("cup", content, "blurred" if aside else None)
            except FramesError:
                assert sum(map(len, stored)) + size > 100
            else:
                stored += [] if aside else [content]
            found = frames.frames()
            assert sum(frame.size for frame in found) <= 100
            assert [frames.content(frame) for frame in found if frame.reason is None] == stored
            files = {p.relative_to(quota_box.home).as_posix() for p in quota_box.home.glob("[fq]*/*/*")}
            assert files == {frame.file for frame in found}


@pytest.fixture(scope="module")
def quota_box(installed, tmp_path_factory):
    class Box:
        home = tmp_path_factory.mktemp("quota") / "home"

        def reset(self):
            shutil.rmtree(self.home, ignore_errors=True)
            shutil.copytree(installed, self.home)

    return Box()


def test_a_class_that_has_enough_takes_no_more(home, pictures):
    label, contents = next(iter(pictures.items()))
    with frame_store.opened(home) as frames:
        gate = Gate(frames, replace(CONFIG, max_per_class=3))
        for content in contents[:3]:
            gate.offer(label, content, "x")
        with pytest.raises(FramesError, match=f"{label} has 3 frames, the most there may be"):
            gate.offer(label, contents[3], "x")
    assert len(kept(home)) == 3


def test_the_gate_knows_what_others_stored_and_removed(home, pictures):
    label, contents = next(iter(pictures.items()))
    with frame_store.opened(home) as frames, frame_store.opened(home) as others:
        gate = Gate(frames, CONFIG)
        assert gate.offer(label, contents[0], "x") is None
        others.add(label, contents[1])
        assert gate.offer(label, contents[1], "x") == "duplicate"
        assert gate.offer("other", contents[0], "x") == f"also labelled {label}"
        with transaction.changing(home) as journal:
            purge.purge(home, journal, purge.Scope())
        assert gate.offer("other", contents[0], "x") is None


def pixels_left(home, contents):
    """Files of a home in which an image file, or the pixels of one, can be found."""
    return [
        path
        for path in home.rglob("*")
        if path.is_file() and any(content[40:] in path.read_bytes() for content in contents)
    ]


def test_after_a_purge_of_everything_nothing_of_the_pixels_is_left_and_the_box_goes_on(
    box, fill, begin, update, pictures, frames
):
    fill(box)
    label = next(iter(pictures))
    with frame_store.opened(box) as opened:
        opened.add(label, pictures[label][30], "blurred")
    begin(box)
    looked_for = [content for contents in pictures.values() for content in contents]
    looked_for += [frames.inputs[at].tobytes() for at in range(len(frames.inputs))]
    encrypted = sealing.key_path(box) is not None
    assert bool(pixels_left(box, looked_for)) != encrypted
    sealed = [path.read_bytes() for path in box.rglob("*.sealed")]
    key = sealing.reading_key(box)
    with transaction.changing(box) as journal:
        gone = purge.purge(box, journal, purge.Scope())
    assert gone == {"scope": "all", "stored": 16, "quarantined": 1, "update": True, "key": encrypted}
    assert pixels_left(box, looked_for) == []
    assert kept(box) == []
    assert not any(p.is_file() for name in ("frames", "quarantine", UPDATE) for p in (box / name).rglob("*"))
    assert events(box)[-1] == ("purged", gone)
    if encrypted:
        assert len(sealed) == 17
        assert not (box / "key").exists()
        assert pixels_left(box, [key.hex().encode() * 3]) == []
    fill(box)
    assert sealing.reading_key(box) != key or not encrypted
    update(box)


@pytest.mark.parametrize("held", [True, False], ids=["held by the update", "not held"])
def test_a_purge_of_a_label_leaves_the_others_and_drops_an_update_that_holds_it(box, fill, begin, pictures, held):
    first, second = pictures
    fill(box)
    if held:
        begin(box)
    with frame_store.opened(box) as frames:
        frames.add("cup", pictures[first][30], "blurred")
    with transaction.changing(box) as journal:
        gone = purge.purge(box, journal, purge.Scope(label=first))
        assert (gone["stored"], gone["quarantined"], gone["update"], gone["key"]) == (8, 0, held, False)
        assert (journal.in_progress() is None) or not held
    assert kept(box) == [(second, None)] * 8 + [("cup", "blurred")]
    with transaction.changing(box) as journal:
        assert purge.purge(box, journal, purge.Scope(label=first))["stored"] == 0


def test_a_purge_by_time_goes_by_when_frames_came(box, fill, begin):
    fill(box)
    with closing(Journal(box)) as journal, journal.changes() as db:
        db.execute("UPDATE frames SET added = '2020-01-01T00:00:00+00:00' WHERE id <= 8")
    begin(box)
    with transaction.changing(box) as journal:
        assert purge.purge(box, journal, purge.Scope(before="2019-01-01"))["stored"] == 0
        assert journal.in_progress() is not None
        gone = purge.purge(box, journal, purge.Scope(before="2021-01-01"))
    assert (gone["stored"], gone["update"]) == (8, True)
    assert len(kept(box)) == 8


def test_an_update_of_an_encrypted_home_resumes_to_identical_weights_and_needs_its_key(
    bundle, home, tmp_path, fill, begin, same
):
    sealed = tmp_path / "sealed"
    store.install(bundle, sealed, sealing_key="key")
    results = []
    for box in (home, sealed):
        fill(box)
        begin(box)
    key = (sealed / "key").read_bytes()
    (sealed / "key").unlink()
    with transaction.changing(sealed) as journal, pytest.raises(HomeError, match="put back the key"):
        transaction.go_on(sealed, journal)
    (sealed / "key").write_bytes(key[::-1].strip() + b"\n")
    with transaction.changing(sealed) as journal, pytest.raises(HomeError, match="sealed with another key"):
        transaction.go_on(sealed, journal)
    (sealed / "key").write_bytes(key)

    def cut(now):
        if (now.stage, now.step) == ("retrain", 2):
            raise KeyboardInterrupt

    with transaction.changing(sealed) as journal:
        with pytest.raises(KeyboardInterrupt):
            transaction.go_on(sealed, journal, cut, save_seconds=0.0)
        names = journal.checkpoint_files()
        assert all((sealed / UPDATE / name).read_bytes().startswith(sealing.SIGN) for name in names)
        assert Checkpoints(sealed / UPDATE, journal).load("fine-tune") is not None
    for box in (home, sealed):
        with transaction.changing(box) as journal:
            transaction.go_on(box, journal)
        results.append(store.load_models(box, store.read_generation(box)))
    assert all(same(getattr(results[0], n), getattr(results[1], n)) for n in ("solver", "generator", "discriminator"))


@pytest.mark.parametrize("scope", [purge.Scope(), purge.Scope(label="bag")], ids=["all", "label"])
def test_frames_can_be_purged_when_their_key_is_gone(bundle, tmp_path, fill, begin, scope):
    home = tmp_path / "home"
    store.install(bundle, home, sealing_key="key")
    fill(home)
    begin(home)
    (home / "key").unlink()
    with pytest.raises(HomeError, match="purge --all"):
        fill(home)
    with transaction.changing(home) as journal:
        assert purge.purge(home, journal, scope)["update"]
    assert len(kept(home)) == (0 if scope.label is None else 8)
    if scope.label is None:
        fill(home)


def test_sealed_frames_that_were_swapped_are_told(bundle, tmp_path, fill):
    store.install(bundle, tmp_path / "home", sealing_key="key")
    fill(tmp_path / "home", 2)
    with frame_store.opened(tmp_path / "home") as frames:
        first, second = (tmp_path / "home" / frame.file for frame in frames.stored()[:2])
        second.write_bytes(first.read_bytes())
        with pytest.raises(HomeError, match="was altered or sealed with another key"):
            frames.content(frames.stored()[1])


def _png(image):
    return cv2.imencode(".png", image)[1].tobytes()

"""The frames of a home: private, within their quota, and gone when they are learnt."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.camera.images import decode_image
from reverie.device_runtime.changes import gathering, installation, purge, transaction
from reverie.device_runtime.changes.verification import verify_home
from reverie.device_runtime.config import IntakeConfig
from reverie.device_runtime.errors import FramesError, HomeError
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.frames.gate import Gate
from reverie.device_runtime.home import store
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.home.layout import UPDATE
from reverie.device_runtime.serving import rollback
from reverie.device_runtime.serving.predictor import Predictor

CONFIG = IntakeConfig()


def test_frames_that_are_stored_come_back_and_are_for_their_owner_alone(box, fill, pictures, events):
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
        installation.install(bundle, tmp_path / "home", sealing_key="key")
        fill(tmp_path / "home", 1)
    finally:
        os.umask(before)
    for path in (tmp_path / "home", *(tmp_path / "home").rglob("*")):
        assert oct(path.stat().st_mode & 0o777) == ("0o700" if path.is_dir() else "0o600"), path


def test_stored_frames_are_learnt_and_gone_once_the_result_serves(box, fill, update, pictures, kept):
    fill(box)
    assert set(pictures) < set(update(box).classes)
    assert kept(box) == []
    assert not list((box / "frames").glob("*"))
    assert not (box / UPDATE).exists()
    report = store.read_report(box, "0001")
    assert (report["set_aside"], sum(row["frames"] for row in report["classes"])) == ({}, 16)


def test_verify_reads_stored_frames_and_a_stored_update_and_names_what_is_damaged(box, fill, begin):
    fill(box)
    begin(box)
    verify_home(box)
    (stored, *_) = sorted(path for path in (box / "frames").rglob("*") if path.is_file())
    content = stored.read_bytes()
    stored.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises((FramesError, HomeError), match=rf"{stored.name} was (damaged|altered)"):
        verify_home(box)


@pytest.mark.parametrize("proven", [True, False])
def test_during_probation_learnt_frames_stay_and_go_only_with_its_success(home, fill, quick, pictures, kept, proven):
    fill(home)
    with transaction.changing(home) as journal:
        gathering.begin(home, journal, None, replace(quick, promotion=replace(quick.promotion, probation=2)))
        transaction.go_on(home, journal)
    learnt = [(label, None) for label in pictures for _ in range(8)]
    assert kept(home) == learnt
    if proven:
        image = decode_image(pictures["bag"][0], "a bag")
        predictor = Predictor(home)
        for _ in range(2):
            predictor.predict(image)
        assert not list((home / "frames").glob("*"))
    else:
        with transaction.changing(home) as journal:
            rollback.roll_back(home, journal)
        with transaction.changing(home):
            pass
    assert kept(home) == ([] if proven else learnt)


def test_frames_come_in_while_an_update_runs_and_stay_as_do_frames_to_keep(box, fill, begin, update, pictures, kept):
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
    box, fill, update, pictures, kept
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


def test_frames_of_an_update_that_failed_or_was_dropped_stay(box, fill, begin, kept):
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


def test_a_class_that_has_enough_takes_no_more(home, pictures, kept):
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


def _png(image):
    return cv2.imencode(".png", image)[1].tobytes()

"""A person at a camera: frames are kept, an update runs beside it, and its result is taken up, kept or left."""

from __future__ import annotations

import time

import numpy as np
import pytest
import short
from hypothesis import given
from hypothesis import strategies as st
from waiting import until

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.errors import BusyError, CameraError, FramesError
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.home import store
from reverie.tools.region import Region, cut


def test_frames_are_kept_while_a_label_is_held_until_there_are_enough(session, home):
    session.hold("cat", count=7)
    until(lambda: session.snapshot.holding is None)
    session.settle()
    now = session.snapshot
    assert now.counts == {"cat": 7}
    assert now.labels == ("sandal", "t-shirt", "trouser", "cat")
    assert (now.last.label, now.last.reason) == ("cat", None)
    with frame_store.opened(home) as frames:
        assert [frame.label for frame in frames.to_learn()] == ["cat"] * 7


def test_frames_that_are_not_kept_are_counted_with_the_reason(at_camera, cat_clip):
    session = at_camera(cat_clip, fast=True, loop=False, every=0)
    moments = []
    until(lambda: (now := session.snapshot).moment is not None and moments.append(now.moment) is None)
    assert session.keep("cat", moments[0]).result() is None
    assert session.keep("cat", moments[0]).result() == "duplicate"
    now = session.snapshot
    assert (now.last.reason, now.set_aside, now.counts) == ("duplicate", {"cat": 1}, {"cat": 1})


def test_a_hold_that_is_not_renewed_ends(session):
    session.hold("cat", seconds=0.3)
    assert session.snapshot.holding == "cat"
    until(lambda: session.snapshot.holding is None)


def test_a_label_that_cannot_be_one_or_has_no_slot_is_refused(session):
    with pytest.raises(FramesError, match="cannot be a label"):
        session.name("a/b")
    for label in ("cat", "dog", "cow"):
        session.name(label)
    with pytest.raises(FramesError, match="spare class slots"):
        session.hold("one too many")
    assert session.snapshot.labels[3:] == ("cat", "dog", "cow")


def test_without_a_frame_nothing_is_kept_and_it_says_so(at_camera):
    session = at_camera("/dev/video98", patience=None)
    with pytest.raises(CameraError, match="no frame yet"):
        session.keep("cat").result()
    now = session.snapshot
    assert now.moment is None
    assert "no frame yet" in now.trouble
    until(lambda: "is not there" in session.snapshot.camera.says)


def test_an_unsure_frame_waits_for_its_label_and_is_kept_under_it(at_camera, cat_clip, home):
    session = at_camera(cat_clip, ask_below=1.0)
    until(lambda: session.snapshot.asking is not None)
    asked = session.snapshot.asking
    until(lambda: session.snapshot.moment.number > asked.number + 3)
    assert session.snapshot.asking is asked
    session.answer("cat")
    session.settle()
    assert session.snapshot.asking is None
    assert session.snapshot.counts == {"cat": 1}
    with frame_store.opened(home) as frames:
        assert len(frames.stored()) == 1


def test_an_unsure_frame_can_be_passed_over(at_camera, cat_clip):
    session = at_camera(cat_clip, ask_below=1.0)
    until(lambda: session.snapshot.asking is not None)
    session.answer(None)
    session.settle()
    assert (session.snapshot.asking, session.snapshot.counts) == (None, {})


def test_a_region_is_what_is_predicted_and_kept(session):
    session.look_at(Region(20, 30, 100, 80))
    until(lambda: session.snapshot.moment.region.shape == (80, 100, 3))
    moment = session.snapshot.moment
    assert np.array_equal(moment.region, moment.image[30:110, 20:120])
    with pytest.raises(FramesError, match="lies outside"):
        session.look_at(Region(200, 0, 100, 80))
    assert session.snapshot.region == Region(20, 30, 100, 80)


@given(
    st.integers(1, 40), st.integers(1, 40), st.tuples(*[st.integers(0, 45)] * 2), st.tuples(*[st.integers(0, 45)] * 2)
)
def test_a_region_is_cut_out_or_refused(high, wide, place, size):
    image = np.arange(high * wide * 3, dtype=np.int64).reshape(high, wide, 3)
    region = Region(*place, *size)
    if 0 in size:
        with pytest.raises(FramesError, match="has no pixel"):
            cut(image, region)
    elif place[0] + size[0] <= wide and place[1] + size[1] <= high:
        part = cut(image, region)
        assert part.shape == (size[1], size[0], 3)
        assert part[0, 0, 0] == image[place[1], place[0], 0]
    else:
        with pytest.raises(FramesError, match="lies outside"):
            cut(image, region)


def test_a_file_that_ends_ends_the_session_after_its_last_frame(at_camera, cat_clip):
    session = at_camera(cat_clip, fast=True, loop=False)
    until(lambda: session.over)
    assert session.snapshot.moment.number == 60
    assert session.done


def test_a_frame_that_the_solver_cannot_take_is_told_in_words(at_camera, cat_clip, repository, tmp_path, reverie):
    home = tmp_path / "exact"
    assert reverie("install", repository / "models/fashion-demo/bundle", "--home", home).code == 0
    session = at_camera(cat_clip, at=home)
    until(lambda: "the solver takes 28x28" in session.snapshot.trouble)


@pytest.mark.slow
def test_what_is_learnt_beside_the_camera_is_taken_up_then_left_then_learnt_again_and_kept(
    at_camera, cat_clip, home, monkeypatch, tmp_path
):
    seen_enough = tmp_path / "seen-enough"
    short.shorten_beside_a_camera(short.enough, seen_enough, monkeypatch.setattr)
    session = at_camera(cat_clip, every=0, update_after=24, update_options=("--probation", "100000"))
    session.hold("cat", count=24)
    until(lambda: session.snapshot.update is not None)
    session.settle()
    seen = set()
    while (now := session.snapshot).update.outcome is None:
        seen.add(now.moment.number)
        assert now.generation == "0000" or now.update.share == 1
        if len(seen) > 20 and now.update.stage == "fine-tune":  # it predicted all the while
            seen_enough.touch()
        time.sleep(0.02)
    assert now.update.outcome == "in service", now.update.says
    assert seen_enough.exists()
    assert {"fine-tune", "retrain", "generative update"} <= now.update.losses.keys()
    assert now.update.result["report"]["classes"][0]["label"] == "cat"
    until(lambda: session.snapshot.generation == "0001")
    until(lambda: session.snapshot.moment.prediction.label == "cat")
    until(lambda: session.snapshot.counts == {})  # they are learnt, and there until it is accepted
    assert [frame.generation for frame in session.frames() if frame.reason is None] == ["0001"] * 24

    session.roll_back("it was a test")
    until(lambda: session.snapshot.generation == "0000")
    assert session.snapshot.update is None
    until(lambda: session.snapshot.counts == {"cat": 24})
    assert store.current(home) == "0000"

    seen_enough.unlink()
    session.start_update()
    until(lambda: session.snapshot.update.stage == "fine-tune")
    with pytest.raises(BusyError):
        session.purge("cat")
    seen_enough.touch()
    until(lambda: session.snapshot.update.outcome is not None)
    assert session.snapshot.update.outcome == "in service", session.snapshot.update.says
    until(lambda: session.snapshot.generation == "0002")
    session.accept()
    until(lambda: session.frames() == [])
    events = [entry.event for entry in transaction.audit_log(home)]
    assert events[-1] == "accepted"
    assert "rolled back" in events

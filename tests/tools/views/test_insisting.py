"""What an update held back is said at the camera, and learnt all the same by somebody who insists."""

from __future__ import annotations

import pytest
from waiting import until

from reverie.device_runtime.errors import CameraError
from reverie.tools.views.background import UpdateState
from reverie.tools.views.controls import Controls


def test_a_label_that_was_held_back_is_named_and_i_learns_it(at_camera, cat_clip, doubted):
    session = at_camera(cat_clip, at=doubted)
    controls = Controls(session)
    until(lambda: session.snapshot.moment is not None)
    controls.press("u")
    until(lambda: session.snapshot.update.outcome is not None)
    first = session.snapshot.update
    assert first.outcome == "failed"
    assert "pants: 19 of 20 frames are taken for trouser" in first.says
    assert first.held_back == ("pants",)
    controls.press("i")
    until(lambda: (now := session.snapshot.update) is not first and now.outcome is not None)
    assert "held back" not in session.snapshot.update.says
    assert not session.snapshot.update.held_back


def test_with_nothing_held_back_there_is_nothing_to_insist_on(session):
    with pytest.raises(CameraError, match="no label was held back"):
        session.start_update(insist=True)
    controls = Controls(session)
    controls.press("i")
    assert controls.says == "no label was held back, so there is nothing to insist on"


def test_what_was_held_back_is_told_from_the_report_or_from_the_words():
    why = {"held back: 9 of 9 frames are taken for cup and look like it": 9}
    report = {"set_aside": {"a mug": why, "pen": {"blurred": 1}}}
    assert UpdateState(outcome="in service", result={"report": report}).held_back == ("a mug",)
    says = "held back, so nothing is left to learn: it's: like cup. If the labels are right, add --insist 'it'\"'\"'s'"
    assert UpdateState(outcome="failed", says=says).held_back == ()  # an apostrophe in the words: nothing is guessed
    says = "held back, so nothing is left. If the labels are right, add --insist 'a mug' --insist pen"
    assert UpdateState(outcome="failed", says=says).held_back == ("a mug", "pen")
    assert UpdateState(outcome="failed", says="it failed").held_back == ()

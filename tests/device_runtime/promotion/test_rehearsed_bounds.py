"""What a rehearsal found bounds what an update may cost known classes; what nothing tells of is no yes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_promotion import DEFAULT, GOOD

from reverie.device_runtime.bundle.rehearsal import Bound, Rehearsal
from reverie.device_runtime.promotion.decision import decide
from reverie.device_runtime.promotion.figures import Counts
from reverie.device_runtime.promotion.kept import kept, passes

TELLING = Rehearsal(30, 600, {"class agreement": Bound(0.9, 5, 6, 0, 24)})
WORSE = replace(GOOD, generated=(Counts("shoe", 300, 300, 300), Counts("hat", 300, 300, 240, lost=60)))


def test_a_class_that_loses_more_than_any_harmless_rehearsal_refuses():
    assert decide(WORSE, DEFAULT).promoted
    decision = decide(WORSE, DEFAULT, TELLING)
    assert not decision.promoted
    (reason,) = decision.reasons
    assert "of what was right of hat, 80% still is (class agreement)" in reason
    assert "in rehearsals all updates without harm had more than 90%" in reason


def test_an_update_within_the_bound_serves_as_far_as_its_number_of_inputs_tells():
    assert decide(GOOD, DEFAULT, TELLING).promoted
    few = replace(GOOD, generated=(Counts("shoe", 300, 300, 300), Counts("hat", 5, 5, 4, lost=1)))
    assert decide(few, DEFAULT, TELLING).promoted


def test_the_class_that_lost_most_is_measured_and_too_few_inputs_are_not():
    measured = kept(WORSE)
    assert measured["class agreement"][:] == (240, 300, "hat")
    assert measured["agreement"].share == pytest.approx(540 / 600)
    assert measured["class canary"].label in {"shoe", "hat"}
    none = replace(GOOD, canary=(), generated=(Counts("shoe", 3, 3, 0, lost=3),))
    assert set(kept(none)) == {"agreement"}
    assert not passes(measured["class agreement"], 0.9)
    assert passes(measured["class agreement"], 0.8)


def test_no_update_is_held_to_a_bound_that_told_no_harm():
    blind = Rehearsal(30, 600, {"class agreement": Bound(0.99, 0, 2, 0, 24)})
    assert decide(WORSE, DEFAULT, blind).promoted
    assert decide(WORSE, DEFAULT, blind).unknown.endswith("told 0 of 2 harmful updates in rehearsals")


def test_it_names_what_its_measures_cannot_tell():
    assert decide(GOOD, DEFAULT).unknown == "no rehearsal tells what the measures of known classes are worth"
    assert not decide(GOOD, DEFAULT, TELLING).unknown
    blind = Rehearsal(30, 600, {"agreement": Bound(0.9, 1, 6, 0, 24)})
    said = decide(GOOD, DEFAULT, blind).unknown
    assert said == "the measures of known classes told 1 of 6 harmful updates in rehearsals"
    assert decide(GOOD, DEFAULT, blind).to_json()["unknown"] == said


def test_a_class_that_the_generator_does_not_make_is_no_yes_unless_something_else_tells_of_it():
    one_class = replace(GOOD, generated=(Counts("shoe", 600, 600, 600), Counts("hat", 2, 2, 2)), canary=())
    (reason,) = decide(one_class, DEFAULT).reasons
    assert reason.startswith("nothing tells whether hat is kept, as the generator does not make it: show frames of it")
    shown = (*GOOD.held_out, Counts("hat", 8, 8, 8))
    assert decide(replace(one_class, held_out=shown, unseen=(50, 50, 8)), DEFAULT).promoted
    canary = (Counts("shoe", 40, 38, 37), Counts("hat", 40, 36, 36))
    assert decide(replace(one_class, canary=canary), DEFAULT).promoted
    assert decide(replace(one_class, generator=None), DEFAULT).promoted  # what is kept of classes draws each of them

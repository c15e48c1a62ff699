"""The decision whether an update serves, from figures alone: each requirement refuses, and chance refuses nobody."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.config import PromotionConfig
from reverie.device_runtime.promotion.decision import decide
from reverie.device_runtime.promotion.evidence import exceeds
from reverie.device_runtime.promotion.figures import Counts, Figures, GeneratorFigures

LEARNT = (Counts("cup", 200, 0, 190), Counts("pen", 200, 0, 180))
GOOD = Figures(
    finite=True,
    held_out=(Counts("cup", 50, 0, 45), Counts("pen", 50, 0, 40)),
    learnt=LEARNT,
    unseen=(50, 50),
    contradicted=2,
    generated=(Counts("shoe", 300, 300, 297), Counts("hat", 300, 300, 290)),
    canary=(Counts("shoe", 40, 38, 37), Counts("hat", 40, 36, 36)),
    milliseconds=(1.0, 1.1),
    each_left_out=False,
    generator=GeneratorFigures(
        finite=True,
        known=(Counts("shoe", 100, 99, 98), Counts("hat", 100, 97, 99)),
        new=(Counts("cup", 100, 0, 90), Counts("pen", 100, 0, 95)),
    ),
)
DEFAULT = PromotionConfig()


def failing(figures, config=DEFAULT):
    return [check.name for check in decide(figures, config).solver if not check.passed]


def test_a_good_update_serves_with_its_generator():
    decision = decide(GOOD, DEFAULT).with_answers("")
    assert decision.promoted
    assert decision.generator_promoted
    assert (decision.reasons, decision.without_replay) == ((), ())


REFUSED = {
    "finite weights": {"finite": False},
    "held-out accuracy": {"held_out": (Counts("cup", 50, 0, 20), Counts("pen", 50, 0, 20))},
    "held-out accuracy of pen": {"held_out": (Counts("cup", 90, 0, 90), Counts("pen", 30, 2, 2)), "learnt": LEARNT[:1]},
    "pen is recognised": {"held_out": (Counts("cup", 12, 0, 10), Counts("pen", 12, 0, 3))},
    "better than before": {"held_out": (Counts("cup", 50, 40, 40), Counts("pen", 50, 40, 40)), "learnt": ()},
    "frames of pen that differ": {"unseen": (50, 0)},
    "labels contradicted": {"contradicted": 40},
    "agreement": {"generated": (Counts("shoe", 300, 300, 250), Counts("hat", 300, 300, 250))},
    "no class lost on generated inputs": {"generated": (Counts("shoe", 3000, 3000, 3000), Counts("hat", 30, 30, 3))},
    "canary accuracy": {"canary": (Counts("shoe", 100, 95, 70), Counts("hat", 100, 95, 80))},
    "no class lost on canary images": {"canary": (Counts("shoe", 400, 400, 400), Counts("hat", 10, 10, 0))},
    "milliseconds of a prediction": {"milliseconds": (1.0, 3.5)},
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_requirement_refuses_alone_and_says_why_in_one_line(name):
    decision = decide(replace(GOOD, **REFUSED[name]), DEFAULT)
    assert failing(replace(GOOD, **REFUSED[name])) == [name]
    (reason,) = decision.reasons
    assert reason
    assert "\n" not in reason
    assert not decision.promoted


def test_a_known_class_that_vanishes_from_its_own_frames_has_collapsed():
    held_out = (Counts("shoe", 20, 19, 4, lost=15), Counts("cup", 80, 0, 78))
    assert "no class lost on held-out frames" in failing(replace(GOOD, held_out=held_out, learnt=LEARNT[:1]))


def test_what_does_not_answer_from_its_files_does_not_serve():
    decision = decide(GOOD, DEFAULT).with_answers("it does not load")
    assert not decision.promoted
    assert decision.reasons == ("it does not load",)


def test_latency_is_held_to_the_absolute_bound_too():
    assert failing(GOOD, replace(DEFAULT, latency_ms=1.0)) == ["milliseconds of a prediction"]
    assert failing(GOOD, replace(DEFAULT, latency_ms=2.0)) == []


@pytest.mark.parametrize(("before", "won", "lost"), [(50, 0, 0), (48, 1, 0), (45, 4, 0), (40, 8, 3), (30, 10, 9)])
def test_known_classes_alone_serve_only_with_a_gain_that_is_no_chance(before, won, lost):
    """Every image of them was recognised, one of twenty was won, or as many were lost: nothing to serve it for."""
    counts = (Counts("shoe", 50, before, before + won - lost, lost),)
    assert failing(replace(GOOD, held_out=counts, learnt=(), unseen=(50,))) == ["better than before"]
    few = (Counts("shoe", 4, 0, 4),)  # in which it recognised nothing
    assert failing(replace(GOOD, held_out=few, learnt=(), unseen=(4,), contradicted=0)) == []
    clear = (Counts("shoe", 50, 30, 30 + 12 - 2, lost=2),)
    assert failing(replace(GOOD, held_out=clear, learnt=(), unseen=(50,))) == []


def test_new_classes_are_no_excuse_for_known_ones_that_were_shown_and_lost():
    held_out = (Counts("cup", 50, 0, 45), Counts("shoe", 50, 48, 40, lost=8))
    assert failing(replace(GOOD, held_out=held_out, learnt=LEARNT[:1])) == ["better than before"]


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 20), st.integers(0, 20))
def test_a_new_class_serves_only_if_it_is_recognised_better_than_by_chance(right, more, of_it, known):
    """Chance: one class of all that are known then. What chance might explain serves with half of the frames right."""
    held_out, generated = Counts("cup", right + more, 0, right), tuple(Counts(f"{k}", 9, 9, 9) for k in range(known))
    own = Counts("cup", of_it, 0, of_it)
    some = replace(GOOD, held_out=(held_out,), generated=generated, learnt=(own,), unseen=(right + more,))
    chance = 1 / (known + 1)
    shows = right >= more or exceeds(right, right + more, chance)
    assert ("cup is recognised" not in failing(some)) == shows
    assert "cup is recognised" not in failing(some, replace(DEFAULT, floor=0))


def test_shirts_of_which_two_of_twelve_are_right_are_not_served_as_learnt():
    held_out = (Counts("shirt", 12, 0, 2), Counts("sneaker", 12, 0, 12))
    learnt = (Counts("shirt", 48, 0, 20), Counts("sneaker", 48, 0, 48))
    eight = replace(GOOD, held_out=held_out, learnt=learnt, unseen=(12, 12), contradicted=0)
    decision = decide(replace(eight, generated=tuple(Counts(f"{k}", 100, 100, 99) for k in range(6))), DEFAULT)
    (reason,) = decision.reasons
    assert reason == (
        "shirt was not learnt: it recognises 2 of 12 held-out frames and 20 of 48 that it learnt; "
        "show more of it, 120 or so"
    )


@given(st.integers(1, 3), st.integers(0, 1))
def test_one_held_out_frame_of_each_new_label_serves_where_it_and_what_was_learnt_is_right(frames, right):
    held_out = (Counts("a", 1, 0, 1), Counts("b", 1, 0, right))
    learnt = (Counts("a", frames, 0, frames), Counts("b", frames, 0, frames))
    expected = [] if right else ["b is recognised"]
    assert failing(replace(GOOD, held_out=held_out, learnt=learnt, unseen=(1, 1), contradicted=0)) == expected


def test_without_held_out_frames_there_is_nothing_to_hold_to():
    none = (Counts("cup", 0, 0, 0), Counts("pen", 0, 0, 0))
    assert failing(replace(GOOD, held_out=none, unseen=(0, 0), contradicted=0)) == []


BAD_GENERATORS = {
    "finite weights": {"finite": False},
    "class agreement": {"known": (Counts("shoe", 100, 99, 80), Counts("hat", 100, 97, 75))},
    "no class lost on class coverage": {"known": (Counts("shoe", 900, 890, 890), Counts("hat", 20, 19, 2))},
}


@pytest.mark.parametrize("name", BAD_GENERATORS)
def test_the_generator_is_refused_alone_and_then_no_new_class_is_replayed(name):
    decision = decide(replace(GOOD, generator=replace(GOOD.generator, **BAD_GENERATORS[name])), DEFAULT)
    assert decision.promoted
    assert not decision.generator_promoted
    assert [check.name for check in decision.generator if not check.passed] == [name]
    assert decision.without_replay == ("cup", "pen")


def test_a_new_class_that_the_generator_hardly_shows_is_told_but_refuses_nothing():
    """The previous generator does not show it either."""
    few = replace(GOOD.generator, new=(Counts("cup", 100, 0, 90), Counts("pen", 100, 0, 5)))
    decision = decide(replace(GOOD, generator=few), DEFAULT)
    assert decision.generator_promoted
    assert decision.without_replay == ("pen",)


counts = st.builds(
    lambda label, of, before, after: Counts(label, of, min(before, of), min(after, of)),
    st.sampled_from("abc"),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(0, 300),
)
figures = st.builds(
    lambda held_out, generated, canary, known, noise, times: replace(
        GOOD,
        held_out=tuple(held_out),
        learnt=tuple(replace(c, lost=0) for c in held_out if not c.before),
        unseen=tuple(c.of for c in held_out),
        contradicted=round(noise * sum(c.of for c in held_out)),
        generated=tuple(generated),
        canary=tuple(canary),
        milliseconds=times,
        generator=replace(GOOD.generator, known=tuple(known)),
    ),
    *(st.lists(counts, max_size=4) for _ in range(4)),
    st.floats(0, 1),
    st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)),
)
configs = st.builds(
    PromotionConfig,
    floor=st.floats(0, 1),
    gain=st.floats(-1, 1),
    label_noise=st.floats(0, 1),
    agreement_drop=st.floats(0, 1),
    canary_drop=st.floats(0, 1),
    collapse=st.floats(0, 1),
)


@given(figures, configs)
def test_every_decision_is_json_with_a_reason_for_each_check_that_failed(some, config):
    decision = decide(some, config)
    values = json.loads(json.dumps(decision.to_json(), allow_nan=False))
    assert values["promoted"] == all(check["passed"] for check in values["checks"])
    assert values["reasons"] == [check["says"] for check in values["checks"] if not check["passed"]]
    assert all(values["reasons"])


@given(figures, configs, st.data())
def test_more_right_answers_never_turn_a_promotion_into_a_refusal(some, config, data):
    if not decide(some, config).promoted:
        return
    better = {}
    for part in ("held_out", "generated", "canary"):
        old = getattr(some, part)
        better[part] = tuple(replace(c, after=data.draw(st.integers(c.after, c.of))) for c in old)
    assert decide(replace(some, **better), config).promoted


@given(figures, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_floor_never_lets_more_through(some, low, high):
    low, high = sorted((low, high))
    if decide(some, replace(DEFAULT, floor=high)).promoted:
        assert decide(some, replace(DEFAULT, floor=low)).promoted

"""Random numbers are a pure function of (seed, stage, step)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reverie.device_runtime.method.randomness import balanced, rng_for

keys = st.tuples(
    st.integers(0, 2**31 - 1),
    st.sampled_from(["replay", "fine-tune: live", "retrain: live", "synthesis", "coverage"]),
    st.integers(0, 2**31 - 1),
)


def draws(key):
    return rng_for(*key).integers(2**63, size=4).tolist()


@given(keys, keys)
def test_two_streams_are_the_same_exactly_when_seed_stage_and_step_are(left, right):
    assert (draws(left) == draws(right)) == (left == right)


@given(keys, keys, st.integers(0, 2))
def test_changing_the_seed_the_stage_or_the_step_alone_changes_the_stream(key, other, part):
    assume(key[part] != other[part])
    changed = (*key[:part], other[part], *key[part + 1 :])
    assert draws(changed) != draws(key)


@given(keys)
def test_the_same_key_gives_the_same_stream_whatever_was_drawn_before(key):
    first = draws(key)
    np.random.default_rng(0).random(3)
    rng_for(key[0], "another stage", key[2]).random(5)
    assert draws(key) == first


@given(keys)
def test_the_next_step_draws_anew_although_a_float_could_not_hold_the_key(key):
    seed, stage, step = key
    assert draws((seed, stage, step + 1)) != draws(key)


def test_a_thousand_steps_draw_a_thousand_different_batches():
    assert len({tuple(draws((0, "fine-tune: live", step))) for step in range(1000)}) == 1000


@given(st.integers(0, 60), st.integers(1, 40), st.integers(0, 2**31 - 1))
def test_balanced_numbers_are_as_often_as_each_other_but_for_one(count, kinds, seed):
    drawn = np.bincount(balanced(count, kinds, np.random.default_rng(seed)), minlength=kinds)
    assert drawn.sum() == count
    assert len(drawn) == kinds
    assert drawn.max() - drawn.min() <= 1


@pytest.mark.parametrize("count", [32, 64, 130], ids=["fewer", "a rest of few", "a rest of many"])
def test_over_many_steps_no_kind_is_drawn_more_than_others_however_many_there_are(count):
    steps = 400
    drawn = sum(np.bincount(balanced(count, 50, rng_for(0, "test", step)), minlength=50) for step in range(steps))
    expected = steps * count / 50
    assert abs(drawn - expected).max() < 5 * np.sqrt(steps) / 2

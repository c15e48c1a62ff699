"""Noise for the generator: balanced codes, and values that tell which time a class was learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.method.noise import draw_noise, next_time, noise_of, telling, times_kept, told_by
from reverie.device_runtime.method.randomness import rng_for


def told(noise):
    """The time that each row of `noise` tells most clearly."""
    patterns = telling(
        np.zeros((told_by(noise.shape[1]), noise.shape[1]), np.float32), np.arange(told_by(noise.shape[1]))
    )
    size = told_by(noise.shape[1])
    return (noise[:, -size:] @ patterns[:, -size:].T).argmax(axis=1)


@given(st.integers(1, 200), st.integers(0, 2**31 - 1))
def test_balanced_codes_hold_every_known_class_equally_and_no_other(models, count, seed):
    noise, labels = draw_noise(models, count, rng_for(seed, "test"), balance=True)
    drawn = np.bincount(labels, minlength=len(models.classes))
    assert noise.shape == (count, models.manifest.noise_size)
    assert len(drawn) == len(models.classes)
    assert drawn.max() - drawn.min() <= 1


def test_noise_is_as_wide_as_its_spread_allows_and_otherwise_standard_normal(models):
    narrow, _ = draw_noise(models, 4000, rng_for(0, "test"), balance=True)
    wide, _ = draw_noise(models, 4000, rng_for(0, "test"), balance=True, spread=1.5)
    factors = (wide / narrow)[:, 0]
    np.testing.assert_allclose(wide, narrow * factors[:, None], rtol=1e-5)
    assert factors.min() >= 1
    assert factors.max() <= 1.5
    np.testing.assert_allclose(factors.mean(), 1.25, atol=0.02)
    np.testing.assert_allclose([narrow.mean(), narrow.std()], [0, 1], atol=0.02)


def test_codes_that_are_not_balanced_are_drawn_independently(models):
    drawn = [np.bincount(draw_noise(models, 60, rng_for(s, "test"), balance=False)[1]).tolist() for s in range(5)]
    assert any(counts != [20, 20, 20] for counts in drawn)


@given(st.integers(2, 200))
def test_two_times_differ_in_half_of_the_values_that_tell_them(noise_size):
    size = told_by(noise_size)
    assert size <= max(2, noise_size // 4)
    patterns = telling(np.zeros((size, noise_size), np.float32), np.arange(size))[:, -size:]
    differ = (patterns[:, None] != patterns[None]).sum(axis=2)
    np.testing.assert_array_equal(differ, (1 - np.eye(size)) * size / 2)


def test_noise_of_a_class_that_was_learnt_once_tells_no_time(models):
    labels = np.zeros(4000, int)
    noise = noise_of(models, labels, rng_for(0, "test"))
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 1], atol=0.02)
    np.testing.assert_array_equal(noise, noise_of(replace(models, learnt=(1, 3, 3)), labels, rng_for(0, "test")))


def test_noise_of_a_class_tells_each_time_that_it_was_learnt_equally_often(models):
    learnt = replace(models, learnt=(5, 1, 1))
    times = told(noise_of(learnt, np.zeros(4000, int), rng_for(0, "test")))
    np.testing.assert_allclose(np.bincount(times, minlength=5) / 4000, 1 / 5, atol=0.03)


def test_an_update_is_the_next_time_of_the_classes_that_it_brings(models):
    learnt = replace(models, learnt=(1, 4, 1))
    np.testing.assert_array_equal(next_time(learnt, np.array([0, 1, 2, 3, 1])), [1, 4, 1, -1, 4])


@given(st.integers(0, 30))
def test_beyond_what_is_kept_an_update_takes_the_place_of_the_oldest_but_the_pretraining(models, more):
    kept = times_kept(models)
    learnt = replace(models, learnt=(kept + more, 1, 1))
    labels = np.zeros(2000, int)
    assert set(told(noise_of(learnt, labels, rng_for(0, "test"))).tolist()) == set(range(kept))
    place = int(next_time(learnt, labels[:1])[0])
    assert place == 1 + more % (kept - 1)
    rehearsed = told(noise_of(learnt, labels, rng_for(0, "test"), coming=labels[:1]))
    assert set(rehearsed.tolist()) == set(range(kept)) - {place}

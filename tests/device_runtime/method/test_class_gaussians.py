"""A Gaussian of each class: how it learns images, and what it draws."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.device_runtime.bundle.gaussians import ClassGaussians
from reverie.device_runtime.method.class_gaussians import Powers, draw, largest, mean_spread, merged

FEATURES, RANK = 12, 3


def correlated(count, seed, at=0.0):
    """Rows (N, D) that vary along two directions by much, and by little in each feature."""
    rng = np.random.default_rng(seed)
    along = np.random.default_rng(1).standard_normal((2, FEATURES)) * np.array([[3.0], [2.0]])
    rows = rng.standard_normal((count, 2)) @ along + 0.3 * rng.standard_normal((count, FEATURES)) + at
    return rows.astype(np.float32)


def learnt(*parts):
    """What is known after `parts`, each rows and their labels, came one after another."""
    found = ClassGaussians.none(4, FEATURES, RANK)
    for rows, labels in parts:
        found = merged(found, rows, labels, lambda part: part)
    return found


def covariance(gaussians, slot):
    return gaussians.factors[slot].T @ gaussians.factors[slot] + np.diag(gaussians.variances[slot])


def test_mean_and_variance_of_each_feature_are_exact_and_the_covariance_nearly():
    rows = correlated(900, 2, at=5.0)
    found = learnt((rows, np.zeros(900, np.int64)))
    expected = np.cov(rows.T)
    np.testing.assert_allclose(found.means[0], rows.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(np.diag(covariance(found, 0)), np.diag(expected), rtol=1e-3)
    assert np.abs(covariance(found, 0) - expected).max() < 0.02 * np.abs(expected).max()
    assert not found.counts[1:].any()


@pytest.mark.parametrize("images", [4, 5, 6, 100])
def test_of_few_images_fewer_directions_are_kept_than_would_span_them(images):
    rows = correlated(images, 7)
    found = learnt((rows, np.zeros(images, np.int64)))
    kept = int((np.abs(found.factors[0]) > 0).any(axis=1).sum())
    assert kept == min(RANK, images // 2)
    np.testing.assert_allclose(np.diag(covariance(found, 0)), rows.var(axis=0, ddof=1), rtol=1e-3)


def test_a_class_that_comes_again_is_as_if_all_had_come_at_once():
    first, second = correlated(200, 3), correlated(100, 4, at=2.0)
    labels = np.zeros(300, np.int64)
    apart = learnt((first, labels[:200]), (second, labels[:100]))
    at_once = learnt((np.concatenate([first, second]), labels))
    assert apart.counts.tolist() == at_once.counts.tolist()
    np.testing.assert_allclose(apart.means, at_once.means, atol=1e-4)
    for slot_of in (apart, at_once):
        variances = np.diag(covariance(slot_of, 0))
        np.testing.assert_allclose(variances, np.concatenate([first, second]).var(axis=0, ddof=1), rtol=1e-3)


def test_other_classes_stay_bit_for_bit_as_they_were():
    before = learnt((correlated(50, 5), np.zeros(50, np.int64)))
    after = merged(before, correlated(20, 6), np.ones(20, np.int64), lambda part: part)
    for name, values in vars(before).items():
        np.testing.assert_array_equal(getattr(after, name)[0], values[0])


def test_a_class_of_frames_that_are_all_alike_varies_as_the_known_ones_do():
    known = learnt((correlated(200, 7), np.zeros(200, np.int64)))
    alike = np.tile(correlated(1, 8), (6, 1))
    new = merged(known, alike, np.ones(6, np.int64), lambda part: part)
    np.testing.assert_allclose(new.means[1], alike[0], rtol=1e-4)
    share = np.trace(covariance(new, 1)) / np.trace(covariance(known, 0))
    assert 0.5 < share < 0.9  # 10 images of the prior beside 6 that do not vary


def test_what_is_drawn_has_the_mean_and_the_covariance_of_the_class():
    found = learnt((correlated(400, 9, at=3.0), np.zeros(400, np.int64)), (correlated(90, 10), np.ones(90, np.int64)))
    noise = np.random.default_rng(0).standard_normal((20000, RANK + FEATURES)).astype(np.float32)
    labels = np.arange(20000) % 2
    drawn = draw(found, noise, labels)
    assert drawn.dtype == np.float32
    for slot in (0, 1):
        own = drawn[labels == slot]
        assert np.abs(own.mean(axis=0) - found.means[slot]).max() < 0.15
        size = np.abs(covariance(found, slot)).max()
        assert np.abs(np.cov(own.T) - covariance(found, slot)).max() < 0.08 * size


def test_the_mean_spread_weighs_classes_by_their_images():
    found = learnt((correlated(300, 11), np.zeros(300, np.int64)), (0.1 * correlated(100, 12), np.ones(100, np.int64)))
    spread = mean_spread(found)
    seen = np.square(spread.factors).sum(axis=0) + spread.variances
    expected = 0.75 * np.diag(covariance(found, 0)) + 0.25 * np.diag(covariance(found, 1))
    np.testing.assert_allclose(seen, expected, rtol=1e-3)


@pytest.mark.parametrize("rows", [1, RANK, 40])
def test_whatever_is_stacked_each_feature_keeps_its_variance(rows):
    stacked = correlated(rows, 13)
    spread = largest(stacked, np.ones(FEATURES, np.float32), RANK)
    assert spread.factors.shape == (RANK, FEATURES)
    seen = np.square(spread.factors).sum(axis=0) + spread.variances
    np.testing.assert_allclose(seen, np.square(stacked).sum(axis=0) + 1, rtol=1e-3)


@pytest.mark.parametrize(("shape", "channels"), [((12,), 12), ((3, 2, 2), 3)])
def test_rows_of_a_power_give_back_the_inputs_they_are_of(shape, channels):
    mean = np.linspace(0, 2, channels, dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1))
    powers = Powers(shape, mean, np.float32(1.5), 0.5)
    inputs = np.random.default_rng(0).standard_normal((7, *shape)).astype(np.float32)
    rows = powers.of(inputs)
    assert (rows.shape, rows.dtype) == ((7, 12), np.float32)
    np.testing.assert_allclose(np.sign(rows) * rows**2, (inputs * 1.5 + mean).reshape(7, 12), atol=1e-5)
    np.testing.assert_allclose(powers.back(rows), inputs, atol=1e-5)

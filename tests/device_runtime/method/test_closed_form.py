"""The layer that class statistics give."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from class_images import FEATURES, SLOTS, images

from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method import closed_form
from reverie.device_runtime.method.closed_form import (
    ALIKE,
    covariance,
    inverse_covariance,
    invert,
    linear_layer,
    plain_layer,
    pulled_means,
    recognised,
    slope_of,
    statistics_of,
)
from reverie.device_runtime.method.gaussian import gaussian_of


def test_the_layer_is_the_most_likely_class_of_gaussians_with_one_covariance():
    inputs, labels = images(500, 2, classes=4)
    found = statistics_of(inputs, labels, SLOTS)
    weight, bias = linear_layer(found, 0.2)
    pooled = found.scatter / (500 - 4)
    shrunk = 0.8 * pooled + 0.2 * np.trace(pooled) / FEATURES * np.eye(FEATURES)
    apart = inputs[:, None] - pulled_means(found, np.linalg.inv(shrunk), 0.2)
    distances = np.einsum("ncd,de,nce->nc", apart, np.linalg.inv(shrunk), apart)
    logits = inputs @ weight.T + bias
    differences = logits[:, :4] + 0.5 * distances
    np.testing.assert_allclose(differences, differences[:, :1].repeat(4, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(recognised(weight, bias, found.used, inputs), distances.argmin(axis=1))
    assert not weight[4].any()
    assert bias[4] == 0


def test_a_class_that_was_taken_out_leaves_the_covariance_as_it_was():
    found = statistics_of(*images(200, 3), SLOTS)
    left = found.without(2)
    assert left.used.tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(covariance(left, 0.1), covariance(found, 0.1))
    weight, bias = linear_layer(left, 0.1)
    assert not weight[2].any()
    assert bias[2] == 0
    assert found.counts[2] > 0


def pulled(found, epsilon=0.01):
    """How far the mean of each class was pulled: 0 where it stayed, 1 where it is that of all classes."""
    means = found.means[found.used]
    after = pulled_means(found, inverse_covariance(found, epsilon), epsilon)
    apart = means - means.mean(axis=0)
    moved = ((means - after) * apart).sum(axis=1) / (apart**2).sum(axis=1)
    np.testing.assert_allclose(means - after, moved[:, None] * apart, atol=1e-9)
    return moved


def test_means_are_pulled_together_by_the_noise_that_is_in_them():
    """τ/n of n images, as the features number where nothing is shrunk."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [5, 50, 500, 5000])
    inputs = rng.normal(0, 1, (4, 20))[labels] + rng.normal(size=(len(labels), 20))
    found = statistics_of(inputs, labels, 4)
    moved = pulled(found, 1e-9)
    assert (np.diff(moved) < 0).all()
    noise = ALIKE * 20 / found.counts
    between = noise * (1 - moved) / moved
    np.testing.assert_allclose(between, between[0], rtol=1e-3)
    assert between[0] == pytest.approx(20, rel=0.5)  # the means were drawn with a variance of 1


def test_means_that_differ_by_noise_alone_are_pulled_to_one():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 10)
    assert (pulled(statistics_of(rng.normal(size=(40, 6)), labels, 4)) > 0.5).all()


def test_a_class_of_few_images_is_given_its_own(monkeypatch):
    """Without pulled means it would be taken for others: its mean seems further away than it is."""
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 0.35, (6, 100))
    counts = [200] * 5 + [5]
    labels = np.repeat(np.arange(6), counts)
    found = statistics_of(centres[labels] + rng.normal(size=(len(labels), 100)), labels, 6)
    tested = np.repeat(np.arange(6), 300)
    new = centres[tested] + rng.normal(size=(len(tested), 100))

    def right(slot):
        seen = recognised(*linear_layer(found, 0.2), found.used, new)
        return (seen[tested == slot] == slot).mean()

    with_pulling, others = right(5), right(0)
    monkeypatch.setattr(closed_form, "ALIKE", 0.0)
    assert with_pulling > right(5) + 0.1
    assert others > right(0) - 0.1


@pytest.mark.parametrize("size", [1, 5, 256, 700])
def test_a_matrix_is_inverted_in_its_place(size):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(size, size + 3))
    matrix = root @ root.T + 0.1 * np.eye(size)
    inverse = matrix.copy()
    assert invert(inverse)
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rank", [1, FEATURES - 1])
def test_a_scatter_without_an_inverse_is_told_unless_it_is_shrunk(rank):
    inputs, labels = images(200, 4)
    inputs[:, rank:] = inputs[:, :1]
    found = statistics_of(inputs, labels, SLOTS)
    with pytest.raises(BundleError, match="200 images of 5 classes has no inverse with a shrinkage of 0"):
        linear_layer(found, 0.0)
    weight, _ = linear_layer(found, 0.1)
    assert np.isfinite(weight).all()


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_image_of_each_class_gives_no_layer(count):
    labels = np.arange(SLOTS * count)
    found = statistics_of(np.ones((len(labels), FEATURES), np.float32), labels, SLOTS)
    with pytest.raises(BundleError, match="has no inverse"):
        linear_layer(found, 0.5)


def test_what_is_drawn_has_the_mean_of_its_class_and_the_covariance_of_all():
    found = statistics_of(*images(2000, 6, classes=4), SLOTS)
    drawn = gaussian_of(found, 1e-9)
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 3], 20_000)
    features = drawn.draw(rng.standard_normal((len(labels), FEATURES), dtype=np.float32), labels)
    assert features.dtype == np.float32
    for slot in (1, 3):
        np.testing.assert_allclose(features[labels == slot].mean(axis=0), found.means[slot], atol=0.05)
        np.testing.assert_allclose(np.cov(features[labels == slot].T), found.scatter / (2000 - 4), atol=0.1)


def test_directions_that_do_not_vary_are_drawn_as_they_are():
    inputs, labels = images(200, 6)
    inputs[:, 1] = 2.5
    found = statistics_of(inputs, labels, SLOTS)
    drawn = gaussian_of(found, 1e-12).draw(np.ones((SLOTS, FEATURES), np.float32), np.arange(SLOTS))
    np.testing.assert_allclose(drawn[:, 1], 2.5, atol=0.01)


def test_a_thousand_classes_behind_a_large_backbone_take_seconds_and_little_memory():
    rng = np.random.default_rng(0)
    labels = np.arange(5000) % 1000
    inputs = rng.standard_normal((5000, 1280), dtype=np.float32)
    tracemalloc.start()
    began = time.process_time()
    found = statistics_of(inputs, labels, 1000)
    weight, _ = linear_layer(found, 0.1)
    found += found
    assert time.process_time() - began < 5
    assert tracemalloc.get_traced_memory()[1] < 160e6  # twelve matrices of the features
    tracemalloc.stop()
    assert weight.shape == (1000, 1280)


def test_the_plain_layer_takes_the_means_as_they_are():
    found = statistics_of(*images(500, 2, classes=4), SLOTS)
    weight, bias = plain_layer(found, 0.2)
    np.testing.assert_allclose(weight[:4], np.linalg.solve(covariance(found, 0.2), found.means[:4].T).T)
    np.testing.assert_allclose(bias[:4], -0.5 * (weight[:4] * found.means[:4]).sum(axis=1))
    assert not weight[4].any()
    assert bias[4] == 0


def test_the_slope_of_a_layer_is_that_of_least_squares_over_all_images():
    inputs, labels = images(500, 2, classes=4)
    found = statistics_of(inputs, labels, SLOTS)
    rng = np.random.default_rng(7)
    plain = plain_layer(found, 0.2)
    layer = 0.3 * plain[0] + rng.normal(0, 0.05, (SLOTS, FEATURES)), 0.3 * plain[1] + rng.normal(0, 0.5, SLOTS)
    given, expected = ((inputs @ w.T + b)[:, :4] for w, b in (layer, plain))
    given, expected = (logits - logits.mean(axis=1, keepdims=True) for logits in (given, expected))
    ((slope,), *_) = np.linalg.lstsq(expected.reshape(-1, 1), given.ravel(), rcond=None)
    assert slope_of(found, 0.2, *layer) == pytest.approx(slope, rel=1e-9)
    assert slope == pytest.approx(0.3, abs=0.1)
    assert slope_of(found, 0.2, *plain) == pytest.approx(1)


def test_classes_of_the_same_images_have_no_slope():
    inputs, _ = images(40, 2)
    labels = np.repeat([0, 1], 40)
    found = statistics_of(np.concatenate([inputs, inputs]), labels, SLOTS)
    layer = np.ones((SLOTS, FEATURES)), np.zeros(SLOTS)
    assert slope_of(found, 0.2, *layer) == pytest.approx(0)

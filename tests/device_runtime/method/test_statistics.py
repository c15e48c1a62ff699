"""Class statistics: sums that add up in any order, and the layer that they give."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method.statistics import (
    choose_epsilon,
    from_arrays,
    recognised,
    statistics_of,
)

SLOTS, FEATURES = 5, 3


def images(count, seed, classes=SLOTS, features=FEATURES):
    """Features about a mean of each class, in which the first varies most, and their slots."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    means = np.random.default_rng(0).normal(0, 3, (classes, features))
    spread = np.linspace(2, 0.5, features)
    return (means[labels] + rng.normal(0, spread, (count, features))).astype(np.float32), labels


def close(one, other):
    for name in ("counts", "means", "scatter"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-9)


def test_statistics_are_means_of_classes_and_scatter_about_them():
    inputs, labels = images(700, 1, classes=4)
    found = statistics_of(inputs, labels, SLOTS)
    exact = inputs.astype(np.float64)
    scatter = np.zeros((FEATURES, FEATURES))
    for slot in range(4):
        members = exact[labels == slot]
        np.testing.assert_allclose(found.means[slot], members.mean(axis=0))
        scatter += np.cov(members.T) * (len(members) - 1)
    np.testing.assert_allclose(found.scatter, scatter)
    assert found.counts.tolist() == [*np.bincount(labels), 0]
    assert (found.used.tolist(), found.freedom) == ([0, 1, 2, 3], 700 - 4)


@given(
    order=st.permutations(range(6)),
    cuts=st.lists(st.integers(0, 300), min_size=5, max_size=5).map(sorted),
    seed=st.integers(0, 99),
    far=st.sampled_from([0.0, 100.0]),
)
def test_the_order_in_which_images_come_does_not_matter(order, cuts, seed, far):
    """However 300 images are cut in six parts, some of them empty or without some classes, or far from the others."""
    inputs, labels = images(300, seed)
    inputs[cuts[0] : cuts[2]] += np.float32(far)
    bounds = [0, *cuts, 300]
    parts = [statistics_of(inputs[a:b], labels[a:b], SLOTS) for a, b in pairwise(bounds)]
    first, *others = (parts[at] for at in order)
    close(sum(others, start=first), statistics_of(inputs, labels, SLOTS))


def test_statistics_of_other_classes_or_features_do_not_add_up():
    ours = statistics_of(*images(50, 0), SLOTS)
    for other in (statistics_of(*images(50, 0), SLOTS + 1), statistics_of(*images(50, 0, features=4), SLOTS)):
        with pytest.raises(BundleError, match=r"5 slots with 3 features and of .* do not add up"):
            ours + other


def test_the_layer_is_the_most_likely_class_of_gaussians_with_one_covariance():
    inputs, labels = images(500, 2, classes=4)
    found = statistics_of(inputs, labels, SLOTS)
    weight, bias = found.linear_layer(0.2)
    pooled = found.scatter / (500 - 4)
    covariance = 0.8 * pooled + 0.2 * np.trace(pooled) / FEATURES * np.eye(FEATURES)
    apart = inputs[:, None] - found.means[None, :4]
    distances = np.einsum("ncd,de,nce->nc", apart, np.linalg.inv(covariance), apart)
    logits = inputs @ weight.T + bias
    differences = logits[:, :4] + 0.5 * distances
    np.testing.assert_allclose(differences, differences[:, :1].repeat(4, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(recognised(weight, bias, found.used, inputs), distances.argmin(axis=1))
    assert not weight[4].any()
    assert bias[4] == 0


def test_a_class_that_was_taken_out_leaves_the_layer_of_the_others_as_it_was():
    found = statistics_of(*images(200, 3), SLOTS)
    left = found.without(2)
    assert left.used.tolist() == [0, 1, 3, 4]
    for before, after in zip(found.linear_layer(0.1), left.linear_layer(0.1), strict=True):
        np.testing.assert_allclose(after[left.used], before[left.used])
        assert not after[2].any()
    assert found.counts[2] > 0


@pytest.mark.parametrize("rank", [1, FEATURES - 1])
def test_a_scatter_without_an_inverse_is_told_unless_it_is_shrunk(rank):
    inputs, labels = images(200, 4)
    inputs[:, rank:] = inputs[:, :1]
    found = statistics_of(inputs, labels, SLOTS)
    with pytest.raises(BundleError, match="200 images of 5 classes has no inverse with a shrinkage of 0"):
        found.linear_layer(0.0)
    weight, _ = found.linear_layer(0.1)
    assert np.isfinite(weight).all()


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_image_of_each_class_gives_no_layer(count):
    labels = np.arange(SLOTS * count)
    found = statistics_of(np.ones((len(labels), FEATURES), np.float32), labels, SLOTS)
    with pytest.raises(BundleError, match="has no inverse"):
        found.linear_layer(0.5)


def test_statistics_survive_as_plain_arrays():
    found = statistics_of(*images(300, 5, classes=4), SLOTS)
    arrays = found.to_arrays()
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == {
        "counts": (np.int64, (SLOTS,)),
        "means": (np.float32, (SLOTS, FEATURES)),
        "scatter": (np.float32, (FEATURES * (FEATURES + 1) // 2,)),
    }
    again = from_arrays(arrays)
    for name in ("counts", "means", "scatter"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=1e-6)
    np.testing.assert_array_equal(again.scatter, again.scatter.T)


def altered(name, change):
    arrays = statistics_of(*images(300, 5, classes=4), SLOTS).to_arrays()
    values = arrays[name].astype(np.float64)
    return arrays | {name: change(values)}


def put(at, value):
    def change(values):
        values[at] = value
        return values

    return change


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("means", put((1, 2), np.nan), "not all finite"),
        ("scatter", put(1, np.inf), "not all finite"),
        ("scatter", put(0, -1.0), "negative variance"),
        ("scatter", lambda values: values[:-1], r"scatter \(5,\) of the classes do not fit"),
        ("counts", lambda values: values[1:], "do not fit"),
        ("means", lambda values: values[0], "do not fit"),
        ("means", lambda values: values[:, :0], "do not fit"),
        ("counts", put(0, -1), "no numbers of images"),
        ("counts", put(0, 2.5), "no numbers of images"),
        ("counts", put(0, np.nan), "no numbers of images"),
        ("counts", put(0, 1e300), "no numbers of images"),
        ("counts", put(0, 4), "class slot 0 are of 4 images: 5 are needed"),
        ("means", lambda values: values.astype(str), "are no numbers"),
        ("scatter", lambda values: values.astype(complex), "are no numbers"),
    ],
)
def test_arrays_that_cannot_be_statistics_are_refused(name, change, told):
    with pytest.raises(BundleError, match=told):
        from_arrays(altered(name, change), min_images=5)


def test_arrays_that_are_not_there_are_named():
    arrays = altered("counts", lambda values: values)
    del arrays["scatter"]
    with pytest.raises(BundleError, match="lack their scatter"):
        from_arrays(arrays)


def test_what_stands_where_a_class_has_no_images_says_nothing():
    found = from_arrays(altered("means", put(4, 1e30)))
    came = statistics_of(*images(300, 6), SLOTS)
    np.testing.assert_allclose((found + came).means[4], came.means[4])


def test_a_class_of_few_images_is_not_written():
    found = statistics_of(*images(300, 5, classes=4), SLOTS)
    few = int(found.counts[:4].min())
    assert found.to_arrays(min_images=few)
    with pytest.raises(BundleError, match=f"{few} images: {few + 1} are needed"):
        found.to_arrays(min_images=few + 1)


def test_a_covariance_of_few_images_with_many_features_is_shrunk():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    inputs = 0.4 * rng.normal(size=(3, 70))[labels] + rng.normal(size=(90, 70))
    for seed in range(3):
        assert choose_epsilon(inputs, labels, candidates=(1e-6, 0.3), seed=seed) == 0.3
    assert choose_epsilon(inputs, labels, candidates=(0.3, 0.3 + 1e-9)) == 0.3


def test_a_shrinkage_that_hides_which_direction_tells_classes_apart_is_not_chosen():
    """The classes differ a little in what hardly varies."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    inputs = np.stack([rng.normal(0, 10, 400), 0.3 * labels + rng.normal(0, 0.05, 400)], axis=1)
    inputs[:, 0] += labels
    assert choose_epsilon(inputs, labels, candidates=(0.9, 0.5, 0.0001)) == 0.0001


def test_a_thousand_classes_behind_a_large_backbone_take_seconds_and_little_memory():
    rng = np.random.default_rng(0)
    labels = np.arange(5000) % 1000
    inputs = rng.standard_normal((5000, 1280), dtype=np.float32)
    tracemalloc.start()
    began = time.process_time()
    found = statistics_of(inputs, labels, 1000)
    weight, _ = found.linear_layer(0.1)
    found += found
    assert time.process_time() - began < 5
    assert tracemalloc.get_traced_memory()[1] < 160e6  # twelve matrices of the features
    tracemalloc.stop()
    assert weight.shape == (1000, 1280)

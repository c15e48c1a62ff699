"""Class statistics: sums that add up in any order, and the file that they lie in."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from class_images import FEATURES, SLOTS, images, put
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.bundle.statistics import LEAST_IMAGES, read_statistics, write_statistics
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method.closed_form import statistics_of


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


def written(**changes):
    """A file of the statistics of four classes, with some arrays changed or left out."""
    file = io.BytesIO(write_statistics(statistics_of(*images(300, 5, classes=4), SLOTS)))
    arrays = dict(np.load(file))
    for name, change in changes.items():
        arrays[name] = change(arrays[name].astype(np.float64))
    content = io.BytesIO()
    np.savez(content, **{name: array for name, array in arrays.items() if array is not None})
    return content.getvalue()


def read(content):
    return read_statistics(content, SLOTS, FEATURES, "statistics.npz")


def test_statistics_survive_as_plain_arrays():
    found = statistics_of(*images(300, 5, classes=4), SLOTS)
    content = write_statistics(found)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == {
            "counts": (np.int64, (SLOTS,)),
            "means": (np.float32, (SLOTS, FEATURES)),
            "scatter": (np.float32, (FEATURES * (FEATURES + 1) // 2,)),
        }
    again = read(content)
    for name in ("counts", "means", "scatter"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=1e-6)
    np.testing.assert_array_equal(again.scatter, again.scatter.T)


def test_spare_slots_come_behind_those_that_are_there():
    found = statistics_of(*images(300, 5, classes=4), 4).with_slots(SLOTS)
    close(found, statistics_of(*images(300, 5, classes=4), SLOTS))


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("means", put((1, 2), np.nan), "not all finite"),
        ("scatter", put(1, np.inf), "not all finite"),
        ("scatter", put(0, -1.0), "negative variance"),
        ("scatter", lambda values: values[:-1], r"scatter \(5,\) are not of 5 slots with 3 features"),
        ("counts", lambda values: values[1:], r"counts \(4,\)"),
        ("means", lambda values: values[0], "are not of 5 slots"),
        ("means", lambda values: values[:, :0], "are not of 5 slots"),
        ("counts", put(0, -1), "no numbers of images"),
        ("counts", put(0, 2.5), "no numbers of images"),
        ("counts", put(0, np.nan), "no numbers of images"),
        ("counts", put(0, 1e300), "no numbers of images"),
        ("counts", put(0, LEAST_IMAGES - 1), f"class slot 0 are of {LEAST_IMAGES - 1} images: {LEAST_IMAGES} are"),
        ("counts", lambda values: 0 * values, "are of no class"),
        ("means", lambda values: values.astype(str), "holds what is no number"),
        ("scatter", lambda values: values.astype(complex), "holds what is no number"),
        ("scatter", lambda _: None, "holds no statistics"),
    ],
)
def test_arrays_that_cannot_be_statistics_are_refused(name, change, told):
    with pytest.raises(BundleError, match=told):
        read(written(**{name: change}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", np.arange(3).tobytes()])
def test_what_is_no_file_of_arrays_is_refused(content):
    with pytest.raises(BundleError, match="holds no statistics of classes"):
        read(content)


def test_what_stands_where_a_class_has_no_images_says_nothing():
    found = read(written(means=put(4, 1e30)))
    came = statistics_of(*images(300, 6), SLOTS)
    np.testing.assert_allclose((found + came).means[4], came.means[4])


def test_a_class_of_few_images_is_not_written():
    labels = np.repeat([0, 1], [LEAST_IMAGES - 1, 20])
    inputs, _ = images(len(labels), 5)
    with pytest.raises(BundleError, match=f"slot 0 are of {LEAST_IMAGES - 1} images: {LEAST_IMAGES} are needed"):
        write_statistics(statistics_of(inputs, labels, SLOTS))

"""Gaussians of classes: the file that they lie in, and what is refused in it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from class_images import FEATURES, SLOTS, images, put

from reverie.device_runtime.bundle.gaussians import ClassGaussians, Gaussians, read_gaussians, write_gaussians
from reverie.device_runtime.bundle.manifest import GAUSSIANS, MANIFEST
from reverie.device_runtime.bundle.parsing import read_json
from reverie.device_runtime.bundle.statistics import LEAST_IMAGES
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method.class_gaussians import merged

RANK = 2


def learnt(count=300, classes=4):
    """Gaussians of four classes, of as many images each by chance."""
    return merged(ClassGaussians.none(SLOTS, FEATURES, RANK), *images(count, 5, classes=classes), lambda part: part)


def written(**changes):
    """Their file, with some arrays changed or left out."""
    arrays = dict(np.load(io.BytesIO(write_gaussians(learnt()))))
    for name, change in changes.items():
        arrays[name] = change(arrays[name].astype(np.float64))
    content = io.BytesIO()
    np.savez(content, **{name: array for name, array in arrays.items() if array is not None})
    return content.getvalue()


def read(content):
    return read_gaussians(content, SLOTS, FEATURES, RANK, "gaussians.npz")


def test_gaussians_survive_as_plain_arrays_bit_for_bit():
    content = write_gaussians(learnt())
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == {
            "counts": (np.int64, (SLOTS,)),
            "means": (np.float32, (SLOTS, FEATURES)),
            "factors": (np.float32, (SLOTS, RANK, FEATURES)),
            "variances": (np.float32, (SLOTS, FEATURES)),
        }
    again = read(content)
    for name, values in vars(learnt()).items():
        np.testing.assert_array_equal(getattr(again, name), values)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("means", put((1, 2), np.nan), "not all finite"),
        ("factors", put((0, 0, 0), np.inf), "not all finite"),
        ("variances", put((0, 0), -1.0), "negative variance"),
        ("factors", lambda values: values[:, :1], r"factors \(5, 1, 3\), .* with 3 features and 2 directions"),
        ("counts", lambda values: values[1:], r"counts \(4,\)"),
        ("counts", put(0, 2.5), "no numbers of images"),
        ("counts", put(0, np.nan), "no numbers of images"),
        ("counts", put(0, LEAST_IMAGES - 1), f"class slot 0 is of {LEAST_IMAGES - 1} images: {LEAST_IMAGES} are"),
        ("counts", lambda values: 0 * values, "are of no class"),
        ("means", lambda values: values.astype(str), "holds what is no number"),
        ("factors", lambda _: None, "holds no Gaussians"),
    ],
)
def test_arrays_that_cannot_be_gaussians_are_refused(name, change, told):
    with pytest.raises(BundleError, match=told):
        read(written(**{name: change}))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", np.arange(3).tobytes()])
def test_what_is_no_file_of_arrays_is_refused(content):
    with pytest.raises(BundleError, match="holds no Gaussians of classes"):
        read(content)


def test_what_stands_where_a_class_has_no_images_says_nothing():
    assert not read(written(means=put((4, 1), 1e30))).means[4].any()


@pytest.mark.parametrize("values", [{"rank": 0, "power": 0.5}, {"rank": 16, "power": 2.0}])
def test_a_rank_or_power_that_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match="is not a rank"):
        Gaussians.from_json(values)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"noise_size": 16}, "its noise has another size than the directions and the features"),
        ({"backbone": None}, "does not say what backbone.onnx is"),
        ({"slots": 1 << 20}, "have more than 16,777,216 numbers"),
    ],
)
def test_a_manifest_says_no_more_of_gaussians_than_can_be(backbone_bundle, changes, told):
    values = json.loads((backbone_bundle / MANIFEST).read_text("utf-8"))
    size = int(np.prod(values["input_shape"]))
    values["files"][GAUSSIANS] = values["files"]["solver.onnx"]
    text = json.dumps(values | {"gaussians": {"rank": RANK, "power": 0.5}, "noise_size": size + RANK} | changes)
    if told is None:
        found = read_json(text, "here")
        assert (found.models, found.changing) == (("solver",), ("solver.onnx", GAUSSIANS))
        assert not found.has_generator
    else:
        with pytest.raises(BundleError, match=told):
            read_json(text, "here")

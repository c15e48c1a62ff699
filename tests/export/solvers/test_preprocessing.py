"""The preprocessing that a provider states is in the bundle, and is compared with the provider's own on photographs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from workstation_support import class_folders

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.preprocess import Preprocessing, image_files, image_to_input
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.errors import ExportError
from reverie.export.pretraining.pretrained import read_pretrained
from reverie.export.solvers.preprocessing import TOLERANCE, compare_with_callable, with_stated

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = {"resize": 256, "colour": "rgb", "mean": MEAN, "std": STD}

OWN_PREPROCESSING = f'''
import numpy as np
import torch
from PIL import Image

MEAN, STD = np.array({MEAN}), np.array({STD})


def middle(path, shorter, side):
    """torchvision's Resize(shorter) and CenterCrop(side): Pillow's antialiased resampling, sizes rounded down."""
    image = Image.open(path).convert("RGB")
    wide, high = image.size
    to = (shorter, int(shorter * high / wide)) if wide <= high else (int(shorter * wide / high), shorter)
    image = image.resize(to, Image.BILINEAR)
    left, top = round((to[0] - side) / 2), round((to[1] - side) / 2)
    return image.crop((left, top, left + side, top + side))


def imagenet(path, side=224, shorter=256):
    return ((np.asarray(middle(path, shorter, side)) / 255 - MEAN) / STD).transpose(2, 0, 1)


def small(path):
    return torch.from_numpy(imagenet(path, 64, 72)).unsqueeze(0)


def swapped(path):
    return imagenet(path)[::-1]


def unnormalized(path):
    return np.asarray(middle(path, 256, 224)).transpose(2, 0, 1) / 255


def failing(path):
    raise OSError("no such camera")


def not_numbers(path):
    return imagenet(path) * np.nan
'''


@pytest.fixture
def photos(repository):
    return repository / "tests/photos"


@pytest.fixture
def own_preprocessing(workspace):
    (workspace / "own_preprocessing.py").write_text(OWN_PREPROCESSING, encoding="utf-8")


def imagenet(side=224, shorter=256, **changes):
    return with_stated(Preprocessing(side, side, "rgb"), IMAGENET | {"resize": shorter} | changes)


@pytest.mark.usefixtures("own_preprocessing")
@pytest.mark.parametrize(("side", "shorter", "name"), [(224, 256, "imagenet"), (64, 72, "small")])
def test_shrinking_by_area_is_close_to_pillows_antialiased_resampling(photos, side, shorter, name):
    """OpenCV is not Pillow: single pixels at edges are off by several levels, a photograph as a whole by one or two."""
    figures = compare_with_callable(imagenet(side, shorter), f"own_preprocessing:{name}", photos)
    assert figures["photographs"] == 3
    assert figures["mean"] < 0.008
    assert 0.02 < figures["largest"] < 0.15


@pytest.mark.usefixtures("own_preprocessing")
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("small", {"side": 64, "shorter": 72, "interpolation": "linear"}, "check --colour, --scale, --mean"),
        ("swapped", {}, "the preprocessing differs from own_preprocessing:swapped by"),
        ("unnormalized", {}, "the preprocessing differs from"),
        ("imagenet", {"resize": "stretch"}, "the preprocessing differs from"),
        ("imagenet", {"side": 64}, r"makes \(3, 224, 224\) of .*jpg, the preprocessing \(3, 64, 64\)"),
        ("failing", {}, r"failed on .*jpg \(OSError: no such camera\)"),
        ("not_numbers", {}, "values that are no numbers"),
        ("absent", {}, "has no factory 'absent'"),
    ],
)
def test_a_preprocessing_that_is_not_the_providers_is_refused_in_one_line(photos, name, changes, message):
    with pytest.raises(ExportError, match=message) as caught:
        compare_with_callable(imagenet(**changes), f"own_preprocessing:{name}", photos)
    assert "\n" not in str(caught.value)


OPTIONS = ["--size", "16,16", "--resize", "20", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]


@pytest.mark.slow
def test_what_is_stated_to_pretrain_is_in_the_bundle_with_how_far_it_is_from_the_providers_own(
    workspace, reverie, photos
):
    (workspace / "own.py").write_text(
        OWN_PREPROCESSING + "\n\ndef tiny(path):\n    return imagenet(path, 16, 20)\n", encoding="utf-8"
    )
    class_folders(workspace / "photos", photos)
    compare = ["--preprocess-with", "own:tiny", "--photos", photos]
    quick = ["--solver-epochs", "1", "--gan-steps", "2"]
    finished = reverie("pretrain", "photos", "--output", "trained", *OPTIONS, *compare, *quick)
    assert finished.code == 0, finished
    pretrained = read_pretrained(workspace / "trained")
    assert (pretrained.preprocessing.resize, pretrained.preprocessing.shorter) == ("shorter", 20)
    assert pretrained.factories["generator"].endswith(":RangedGenerator")
    finished = reverie("export", "trained", "--output", "bundle")
    assert finished.code == 0, finished
    manifest = read_manifest(workspace / "bundle")
    expected = image_to_input(read_image(photos / "coffee.jpg"), pretrained.preprocessing)
    np.testing.assert_array_equal(image_to_input(read_image(photos / "coffee.jpg"), manifest.preprocessing), expected)
    figures = manifest.unknown["measured"]["preprocessing"]
    assert 0 < figures["mean"] < figures["tolerance"] == TOLERANCE
    assert figures["mean"] < figures["largest"] < 1
    said = " ".join(reverie("inspect", "bundle").out.split())
    assert f"preprocessing beside own:tiny on 3 photographs: on average within {figures['mean']:.2%}" in said
    assert f"at most {figures['largest']:.1%} off in one value" in said


def test_images_are_read_by_both_libraries_alike(photos):
    for path in image_files(photos):
        ours = read_image(path)[:, :, ::-1].astype(int)
        assert np.abs(ours - np.asarray(Image.open(path).convert("RGB"))).max() <= 3

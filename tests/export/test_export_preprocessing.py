"""The preprocessing that a provider states is in the bundle, and is compared with the provider's own on photographs."""

from __future__ import annotations

import shutil
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from reverie.device_runtime.bundle import read_manifest
from reverie.device_runtime.errors import ExportError
from reverie.device_runtime.preprocess import (
    COLOURS,
    INTERPOLATIONS,
    Preprocessing,
    image_files,
    image_to_input,
    read_image,
)
from reverie.export.historical import read_historical
from reverie.export.preprocessing import TOLERANCE, compare_with_callable, input_range, with_stated
from reverie.export.pretrained import merge_own, read_pretrained

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


def test_mean_and_std_mean_what_they_mean_in_torchvision():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = [10, 20, 30]  # blue, green, red
    how = with_stated(Preprocessing(8, 8, "rgb"), {"mean": MEAN, "std": STD})
    expected = (np.array([30, 20, 10]) / 255 - MEAN) / STD
    np.testing.assert_allclose(image_to_input(image, how)[:, 0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(
        np.array(input_range(how)), [(0 - np.array(MEAN)) / STD, (1 - np.array(MEAN)) / STD], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("stated", "black", "white"),
    [
        ({}, -1, 1),
        ({"scale": 1 / 255}, 0, 1),
        ({"scale": 1.0}, 0, 255),
        ({"scale": 1 / 127.5, "mean": (1.0,)}, -1, 1),
        ({"mean": (0.5,), "std": (0.5,)}, -1, 1),
        ({"scale": 1.0, "mean": (100.0,)}, -100, 155),
    ],
)
def test_what_is_not_stated_of_scale_mean_and_std_is_usual(stated, black, white):
    how = with_stated(Preprocessing(2, 2, "grey"), stated)
    for pixel, value in ((0, black), (255, white)):
        np.testing.assert_allclose(image_to_input(np.full((2, 2), pixel, np.uint8), how), value, atol=1e-4)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"mean": (0.1, 0.2)}, "one for each channel"),
        ({"std": (0.0,)}, "divides by zero"),
        ({"scale": 0.0}, "--scale 0"),
        ({"resize": 5}, "cuts out more than there is"),
    ],
)
def test_what_cannot_be_used_is_refused(stated, message):
    with pytest.raises(ExportError, match=message):
        with_stated(Preprocessing(8, 8, "rgb"), stated)


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


def historical(folder, photos, count=4):
    for label in ("cat", "cup"):
        (folder / label).mkdir(parents=True)
        for at in range(count):
            shutil.copy(image_files(photos)[at % 3], folder / label / f"{at}.jpg")
    return folder


OPTIONS = ["--size", "16,16", "--resize", "20", "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]


def test_what_is_stated_to_pretrain_is_in_the_bundle_with_how_far_it_is_from_the_providers_own(
    workspace, reverie, photos
):
    (workspace / "own.py").write_text(
        OWN_PREPROCESSING + "\n\ndef tiny(path):\n    return imagenet(path, 16, 20)\n", encoding="utf-8"
    )
    historical(workspace / "photos", photos)
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


def test_what_was_pretrained_keeps_its_preprocessing(workspace, refused, photos):
    from reverie.export.networks import ReferenceDiscriminator, ReferenceGenerator, ReferenceSolver
    from reverie.export.pretrained import REFERENCE, Pretrained, save_pretrained

    shape = (3, 8, 8)
    built = {"solver": ReferenceSolver, "generator": ReferenceGenerator, "discriminator": ReferenceDiscriminator}
    (workspace / "trained").mkdir()
    described = Pretrained(("cat", "cup"), shape, Preprocessing(8, 8, "rgb"), REFERENCE, {})
    save_pretrained(workspace / "trained", {n: make(shape, 2) for n, make in built.items()}, described)
    assert "state it to reverie pretrain" in refused("export", "trained", "--output", "out", "--mean", "0.5")
    beside = ["--preprocess-with", "nowhere_at_all:f", "--photos", photos]
    assert "cannot import nowhere_at_all" in refused("export", "trained", "--output", "out", *beside)


def test_the_preprocessing_of_own_networks_is_stated_to_export(tmp_path):
    own = dict.fromkeys(("solver", "generator", "discriminator"), "m:f")
    own |= {f"{name}_weights": tmp_path / "w.pt" for name in list(own)}
    how = merge_own(None, own, ("cat", "cup"), (3, 224, 224), IMAGENET).preprocessing
    assert asdict(how) == asdict(imagenet())


def test_images_of_other_sizes_are_cut_only_where_a_size_is_given(tmp_path, photos):
    folder = historical(tmp_path / "photos", photos)
    with pytest.raises(ExportError, match="give --size HEIGHT,WIDTH"):
        read_historical(folder, None, {"resize": 20})
    inputs, *_ = read_historical(folder, (16, 12), {"resize": 20})
    assert inputs.shape == (8, 3, 16, 12)


@pytest.mark.parametrize(
    "options", [["--scale", "1/0"], ["--mean", "a"], ["--resize", "0"], ["--colour", "yuv"], ["--photos", "photos"]]
)
def test_options_that_cannot_be_read_are_wrong_usage(reverie, options):
    assert reverie("pretrain", "photos", "--output", "out", *options).code == 2


def test_the_options_offer_what_the_preprocessing_knows():
    from reverie.tools.pretrain import command

    choices = {option.name: tuple(getattr(option.type, "choices", ())) for option in command.params}
    assert (choices["interpolation"], choices["colour"]) == (INTERPOLATIONS, COLOURS)


def test_images_are_read_by_both_libraries_alike(photos):
    for path in image_files(photos):
        ours = read_image(path)[:, :, ::-1].astype(int)
        assert np.abs(ours - np.asarray(Image.open(path).convert("RGB"))).max() <= 3

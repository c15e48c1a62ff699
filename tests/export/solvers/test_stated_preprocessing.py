"""How images become inputs is stated by options, in torchvision's terms."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from workstation_support import class_folders

from reverie.device_runtime.bundle.preprocess import COLOURS, INTERPOLATIONS, Preprocessing, image_to_input
from reverie.device_runtime.errors import ExportError
from reverie.export.pretraining.historical import find_historical, read_images
from reverie.export.pretraining.pretrained import merge_own
from reverie.export.solvers.preprocessing import input_range, with_stated

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = {"resize": 256, "colour": "rgb", "mean": MEAN, "std": STD}


@pytest.fixture
def photos(repository):
    return repository / "tests/photos"


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


def test_what_was_pretrained_keeps_its_preprocessing(workspace, refused, photos):
    from reverie.export.pretraining.networks import ReferenceDiscriminator, ReferenceGenerator, ReferenceSolver
    from reverie.export.pretraining.pretrained import REFERENCE, Pretrained, save_pretrained

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
    assert asdict(how) == asdict(with_stated(Preprocessing(224, 224, "rgb"), IMAGENET))


def test_images_of_other_sizes_are_cut_only_where_a_size_is_given(tmp_path, photos):
    folder = class_folders(tmp_path / "photos", photos)
    with pytest.raises(ExportError, match="give --size HEIGHT,WIDTH"):
        find_historical(folder, None, {"resize": 20})
    inputs = np.concatenate([*read_images(find_historical(folder, (16, 12), {"resize": 20}))])
    assert inputs.shape == (8, 3, 16, 12)


@pytest.mark.parametrize(
    "options", [["--scale", "1/0"], ["--mean", "a"], ["--resize", "0"], ["--colour", "yuv"], ["--photos", "photos"]]
)
def test_options_that_cannot_be_read_are_wrong_usage(reverie, options):
    assert reverie("pretrain", "photos", "--output", "out", *options).code == 2


def test_classes_come_in_the_order_of_the_solvers_outputs(tmp_path, photos):
    folder = class_folders(tmp_path / "photos", photos, 2)
    found = find_historical(folder, (16, 12), {}, ("cup", "cat"))
    assert (found.classes, found.labels.tolist()) == (("cup", "cat"), [0, 0, 1, 1])
    for wrong in (("cup",), ("cup", "cat", "pen"), ("cup", "cup")):
        with pytest.raises(ExportError, match=r"are not the folders in .*, cat, cup: name each once"):
            find_historical(folder, (16, 12), {}, wrong)


def test_the_options_offer_what_the_preprocessing_knows():
    from reverie.tools.commands.pretrain import command

    choices = {option.name: tuple(getattr(option.type, "choices", ())) for option in command.params}
    assert (choices["interpolation"], choices["colour"]) == (INTERPOLATIONS, COLOURS)

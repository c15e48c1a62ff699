"""From folders of images to a box that tells them apart: pretrain, export, install, predict."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from workstation_support import CLASSES, TinyDiscriminator, TinyGenerator, TinySolver

from reverie.device_runtime.errors import ExportError
from reverie.device_runtime.method.coordinates import principal_coordinates
from reverie.export.pretraining.historical import find_historical, read_images
from reverie.export.pretraining.training import PretrainConfig, class_coverage, pretrain, split_validation, taken_for

pytestmark = pytest.mark.slow

LABELS = ("bolt", "nut", "washer")


def picture(at, colour, seed):
    """A 20x24 picture of class `at`: a bright band at the top, in the middle or at the bottom, on noise."""
    image = np.random.default_rng([seed, at]).integers(0, 60, (20, 24, 3) if colour else (20, 24)).astype(np.uint8)
    band = slice(1 + 6 * at, 6 + 6 * at)
    if colour:
        image[band, :, at] += 190
    else:
        image[band] += 190
    return image


def write_pictures(folder, colour, each=30):
    for at, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True)
        for seed in range(each):
            cv2.imwrite(str(folder / label / f"{seed:02}.{'jpg' if colour else 'png'}"), picture(at, colour, seed))


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_pictures_become_a_solver_that_a_box_serves(reverie, workspace, colour):
    write_pictures(workspace / "pictures", colour)
    done = reverie("pretrain", "pictures", "--output", "trained", "--solver-epochs", 40, "--gan-steps", 12)
    assert (done.code, done.err) == (0, "")
    shown = re.search(r"solver: ([\d.]+)% of the validation images are right", done.out)
    assert float(shown[1]) > 90
    assert all(re.search(rf"^  {label}: [\d.]+% right, [\d.]+% generated$", done.out, re.MULTILINE) for label in LABELS)
    described = json.loads((workspace / "trained/pretrained.json").read_text("utf-8"))
    assert described["measured"]["validation_accuracy"] == pytest.approx(float(shown[1]) / 100, abs=5e-4)
    assert (described["classes"], described["input_shape"]) == (list(LABELS), [3 if colour else 1, 20, 24])
    coverage = described["measured"]["class_coverage"]
    assert sum(coverage) == pytest.approx(1)
    few = [label for label, share in zip(LABELS, coverage, strict=True) if share < 1 / 6]
    warned = f"warning: the generator makes less than half its share of {', '.join(few)}," in " ".join(done.out.split())
    assert warned == bool(few)
    for name in ("solver", "generator", "discriminator"):
        weights = safetensors.torch.load_file(workspace / "trained" / f"{name}.safetensors")
        assert all(value.dtype == torch.float32 and value.isfinite().all() for value in weights.values())
    assert {p.suffix for p in (workspace / "trained").iterdir()} == {".json", ".npz", ".safetensors"}

    for repeated in (("export", "trained", "--output", "bundle"), ("inspect", "bundle")):
        done = reverie(*repeated)
        assert done.code == 0
        assert ("less than half its share of" in " ".join(done.out.split())) == bool(few)
    assert reverie("install", "bundle", "--home", "home").code == 0
    for at, label in enumerate(LABELS):
        cv2.imwrite("new.png", picture(at, colour, seed=1000))
        finished = reverie("predict", "new.png", "--home", "home", "--json")
        assert (finished.code, finished.err) == (0, "")
        predicted = json.loads(finished.out)
        assert predicted["label"] == label
        assert predicted["probabilities"].keys() == set(LABELS)
        assert sum(predicted["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_inputs_read_from_class_folders_are_their_pixels_between_minus_one_and_one(workspace):
    write_pictures(workspace / "pictures", colour=False, each=3)
    (workspace / "pictures/.thumbnails").mkdir()
    found = find_historical(workspace / "pictures", None)
    inputs = np.concatenate([*read_images(found)])
    assert (found.classes, found.how.colour, found.how.resize) == (LABELS, "grey", "exact")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    expected = np.stack([picture(at, colour=False, seed=seed) for at in range(3) for seed in range(3)])
    np.testing.assert_allclose(inputs[:, 0] * 127.5 + 127.5, expected, atol=1e-4)
    found = find_historical(workspace / "pictures", (10, 12))
    resized = np.concatenate([*read_images(found)])
    assert (resized.shape, found.how.resize) == ((9, 1, 10, 12), "stretch")
    np.testing.assert_allclose(resized.mean(axis=(1, 2, 3)), inputs.mean(axis=(1, 2, 3)), atol=0.01)


@given(
    sizes=st.lists(st.integers(2, 60), min_size=1, max_size=6),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**31 - 1),
)
def test_validation_takes_its_share_of_every_class_and_nothing_is_both(sizes, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    train, validation = split_validation(labels, share, seed)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert np.bincount(labels[validation]).tolist() == [max(1, round(share * size)) for size in sizes]
    assert np.bincount(labels[train]).min() >= 1
    again = split_validation(labels, share, seed)
    assert (np.array_equal(again[0], train), np.array_equal(again[1], validation)) == (True, True)


@given(sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4).filter(lambda sizes: 1 in sizes))
def test_a_class_with_one_image_cannot_be_split(sizes):
    with pytest.raises(ExportError, match=f"class number {sizes.index(1)} has 1 image: at least 2 are needed"):
        split_validation(np.repeat(np.arange(len(sizes)), sizes), 0.1, 0)


class Remembering(nn.Module):
    """A network that notes the first pixel of every image that it sees while it is in training mode."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.seen = set()

    def forward(self, images, *code):
        if self.training:
            self.seen.update(images.detach()[:, 0, 0, 0].tolist())
        return self.network(images, *code)


def test_validation_images_are_never_trained_on_and_all_others_are():
    """The first pixel of an image is its number."""
    count = 120
    inputs = np.random.default_rng(0).normal(size=(count, 1, 8, 8)).astype(np.float32)
    labels = np.arange(count) % len(CLASSES)
    inputs[:, 0, 0, 0] = numbers = np.arange(count, dtype=np.float32) + 10
    torch.manual_seed(0)
    solver, discriminator = Remembering(TinySolver(slots=4)), Remembering(TinyDiscriminator(slots=4))
    config = PretrainConfig(solver_epochs=3, solver_batch=27, gan_steps=40, gan_batch=32)
    pretrain((solver, TinyGenerator(slots=4), discriminator), inputs, labels, config, lambda *_: None)
    train, validation = (set(numbers[rows].tolist()) for rows in split_validation(labels, 0.1, 0))
    assert solver.seen == train
    assert not validation & discriminator.seen
    assert train <= discriminator.seen


@pytest.mark.parametrize(("weight", "expected"), [(20.0, True), (0.0, False)])
def test_the_generator_reproduces_images_from_their_coordinates_where_it_is_asked_to(weight, expected):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % len(CLASSES)
    pattern = rng.normal(size=(1, 8, 8))
    strength = 0.3 * rng.normal(size=(200, 1, 1, 1))
    inputs = np.tanh(0.5 * (labels[:, None, None, None] - 1.5) + strength * pattern).astype(np.float32)
    torch.manual_seed(0)
    networks = (TinySolver(slots=4), TinyGenerator(slots=4), TinyDiscriminator(slots=4))
    config = PretrainConfig(
        solver_epochs=1, gan_steps=400, gan_reconstruction=weight, gan_components=1, gan_learning_rate=1e-2
    )
    generator, _ = pretrain(networks, inputs, labels, config, lambda *_: None)
    train, _ = split_validation(labels, config.validation_share, config.seed)
    coordinates = principal_coordinates(inputs[train], labels[train], 1, np.random.default_rng(0))[:]
    noise = rng.normal(size=(len(train), 3)).astype(np.float32)
    codes = torch.eye(4)[torch.from_numpy(labels[train])]

    def error(noise):
        with torch.no_grad():
            return np.square(generator(torch.from_numpy(noise), codes).numpy() - inputs[train]).mean()

    known = np.concatenate([coordinates, noise[:, 1:]], axis=1)
    assert (error(known) < 0.9 * error(noise)) == expected


@pytest.mark.parametrize("parts", ["some", "all"])
def test_parts_of_a_generator_that_are_frozen_stay_as_they_are(parts):
    inputs = np.random.default_rng(0).uniform(-1, 1, (40, 1, 8, 8)).astype(np.float32)
    generator = TinyGenerator(slots=2)
    for frozen in list(generator.parameters())[: 1 if parts == "some" else None]:
        frozen.requires_grad_(requires_grad=False)
    networks = TinySolver(slots=2), generator, TinyDiscriminator(slots=2)
    before = [parameter.clone() for parameter in generator.parameters()]
    pretrain(networks, inputs, np.arange(40) % 2, PretrainConfig(solver_epochs=1, gan_steps=3), lambda *_: None)
    for old, new in zip(before, generator.parameters(), strict=True):
        assert torch.equal(old, new) == (not new.requires_grad)


def test_accuracy_and_coverage_count_what_the_solver_says():
    class Constant(nn.Module):
        """A solver that says class 1 of positive images and class 0 of others."""

        def forward(self, images):
            positive = (images.mean(dim=(1, 2, 3)) > 0).float()
            return torch.stack([0.5 * torch.ones_like(positive), positive, -torch.ones_like(positive)], dim=1)

    class Signed(nn.Module):
        """A generator of images that are positive for classes 1 and 2."""

        noise_size = 2

        def forward(self, noise, code):
            return (2 * (code[:, 0] == 0).float() - 1)[:, None, None, None].expand(len(noise), 1, 4, 4)

    images = torch.ones(10, 1, 4, 4)
    images[:4] = -1
    assert taken_for(Constant(), images).tolist() == [0] * 4 + [1] * 6
    assert class_coverage(Signed(), Constant(), 3, samples=900) == pytest.approx((1 / 3, 2 / 3, 0))

"""A model with one linear layer behind the cut: it follows from statistics, unless the provider's own is kept."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import own_backbones
import pytest
import safetensors.torch
import torch

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.manifest import STATISTICS, Backbone
from reverie.device_runtime.bundle.preprocess import find_images, image_to_input
from reverie.device_runtime.bundle.statistics import LEAST_IMAGES, read_statistics
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.method.closed_form import linear_layer
from reverie.export.solvers.backbone import cut_solver
from reverie.export.solvers.linear_head import is_linear_layer

pytestmark = pytest.mark.slow

LABELS = ("bolt", "nut", "screw", "washer")


@pytest.fixture
def given(workspace):
    """The user's module, its weights for nine classes, and twelve pictures of each of four, each of its own colour."""
    shutil.copy(own_backbones.__file__, workspace / "my_backbones.py")
    for at, label in enumerate(LABELS):
        (workspace / "pictures" / label).mkdir(parents=True)
        for number in range(12):
            image = np.random.default_rng([at, number]).integers(0, 120, (16, 16, 3))
            image[:, :, at % 3] += 60 + 60 * (at == 3)
            cv2.imwrite(f"pictures/{label}/{number:02}.png", image.astype(np.uint8))
    torch.manual_seed(5)
    whole = own_backbones.many().train()
    with torch.no_grad():
        whole(torch.randn(64, 3, 16, 16))  # running statistics that are not 0 and 1
    safetensors.torch.save_file(whole.state_dict(), "many.safetensors")
    return workspace


def pretrain(*more):
    return (
        *("pretrain", "pictures", "--size", "16,16", "--solver", "my_backbones:many", "--output", "trained"),
        *("--solver-weights", "many.safetensors", "--backbone-until", "head", "--gan-steps", 2, *more),
    )


def images_of(folder, how):
    return np.stack([image_to_input(read_image(file), how) for file in find_images(folder)])


@pytest.mark.parametrize("quantise", [(), ("--quantise",)], ids=["32-bits", "8-bits"])
def test_the_solver_of_a_bundle_is_what_its_statistics_give_on_what_its_backbone_makes(reverie, given, quantise):
    done = reverie(*pretrain(*quantise))
    assert (done.code, done.err) == (0, "")
    assert "% of the images are right by cross-validation" in done.out
    assert ("backbone in 8 bits" in done.out) == bool(quantise)
    assert reverie("export", "trained", "--output", "bundle", "--spare-classes", 2).code == 0
    manifest = read_manifest(given / "bundle")
    assert manifest.models == ("solver",)
    assert (manifest.input_shape, manifest.slots, manifest.backbone.power) == ((12,), 6, 0.5)
    assert "inputs are square roots of its features, 12" in " ".join(reverie("inspect", "bundle").out.split())
    assert "no root was taken" not in done.out

    images = images_of(given / "pictures", manifest.preprocessing)
    content = (given / "bundle/backbone.onnx").read_bytes()
    features = Graph(content).run({"image": images})["features"]
    kept = read_statistics((given / "bundle" / STATISTICS).read_bytes(), 6, 12, STATISTICS)
    assert kept.counts.tolist() == [12, 12, 12, 12, 0, 0]
    for slot in range(4):
        np.testing.assert_allclose(features[12 * slot : 12 * slot + 12].mean(axis=0), kept.means[slot], atol=1e-3)
    weight, bias = linear_layer(kept, manifest.statistics.epsilon)
    logits = Graph((given / "bundle/solver.onnx").read_bytes()).run({"input": features})["logits"]
    expected = (features @ weight.T + bias)[:, :4] / manifest.statistics.temperature
    np.testing.assert_allclose(logits[:, :4], expected, rtol=1e-3, atol=1e-3)
    if quantise:
        assert b"QuantizeLinear" in content
        whole = own_backbones.many().eval()
        whole.load_state_dict(safetensors.torch.load_file("many.safetensors"))
        front, _ = cut_solver(whole, Backbone("head"), (3, 16, 16))
        plain = np.sqrt(front.features(images)) - np.asarray(manifest.backbone.mean, np.float32)
        difference = np.abs(features - plain / np.float32(manifest.backbone.scale)).mean()
        assert 1e-4 < difference < 0.2


def test_a_head_that_is_given_is_kept_and_compared_where_that_is_asked_for(reverie, given):
    torch.manual_seed(3)
    own = own_backbones.growing(4)
    own.load_state_dict(safetensors.torch.load_file("many.safetensors") | {
        "head.weight": torch.randn(4, 12), "head.bias": torch.zeros(4)
    })  # fmt: skip
    safetensors.torch.save_file(own.state_dict(), "own.safetensors")
    asked = ("--solver", "my_backbones:growing", "--solver-weights", "own.safetensors")
    done = reverie(*pretrain(*asked))
    assert "the head that was given is right on" in done.out
    heads = json.loads((given / "trained/pretrained.json").read_text("utf-8"))["measured"]["heads"]
    assert heads["statistics"] > heads["given"]
    assert reverie("export", "trained", "--output", "bundle").code == 0
    said = " ".join(reverie("inspect", "bundle").out.split())
    assert f"{heads['statistics']:.1%} of the historical images right by cross-validation" in said
    assert f"{heads['given']:.1%} with the head that was given" in said

    shutil.rmtree(given / "trained")
    assert reverie(*pretrain(*asked, "--head", "given")).code == 0
    assert reverie("export", "trained", "--output", "kept").code == 0
    manifest = read_manifest(given / "kept")
    assert (manifest.statistics, manifest.backbone.power) == (None, 1.0)
    images = images_of(given / "pictures", manifest.preprocessing)
    features = Graph((given / "kept/backbone.onnx").read_bytes()).run({"image": images})["features"]
    logits = Graph((given / "kept/solver.onnx").read_bytes()).run({"input": features})["logits"]
    with torch.no_grad():
        expected = own.eval()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits[:, :4], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("until", "linear"), [("head", True), ("hidden", False), ("neck", False), ("body.1", False)])
def test_one_linear_layer_is_told_from_more(until, linear):
    _, rest = cut_solver(own_backbones.many().eval(), Backbone(until), (3, 16, 16))
    shape = {"head": (12,), "hidden": (16,), "neck": (16, 1, 1), "body.1": (12, 8, 8)}[until]
    assert is_linear_layer(rest, shape) == linear


def test_a_convolution_of_one_pixel_and_a_dropout_are_a_linear_layer():
    head = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Conv2d(8, 5, 1), torch.nn.Flatten()).eval()
    assert is_linear_layer(head, (8, 1, 1))
    assert not is_linear_layer(torch.nn.Sequential(head, torch.nn.ReLU()), (8, 1, 1))


def test_what_cannot_be_is_refused(given, refused):
    assert "one linear layer behind it" in refused(*pretrain("--backbone-until", "hidden", "--quantise"))
    plain = ("pretrain", "pictures", "--output", "trained", "--quantise")
    assert "--quantise is for a backbone" in refused(*plain)
    for number in range(LEAST_IMAGES - 1, 12):
        (given / f"pictures/nut/{number:02}.png").unlink()
    said = refused(*pretrain())
    assert f"nut has {LEAST_IMAGES - 1} images: at least {LEAST_IMAGES} are needed" in said

"""A user's model behind its own frozen front: from whole torch module to a box that learns on features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import own_backbones
import pytest
import safetensors.torch
import torch

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.gaussians import Gaussians, read_gaussians
from reverie.device_runtime.bundle.manifest import GAUSSIANS, Backbone
from reverie.device_runtime.bundle.preprocess import find_images, image_to_input
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.home import store
from reverie.export.graphs.graphs import total_variation
from reverie.export.pretraining.historical import CHUNK
from reverie.export.solvers.backbone import cut_solver, feature_statistics
from reverie.export.solvers.factories import load_weights
from reverie.export.solvers.trainable import select

pytestmark = pytest.mark.slow

LABELS, NEW = ("bolt", "nut", "washer"), "screw"


def picture(at, seed):
    """A 20x24 colour picture of class `at`: a bright band of its colour and place, on noise."""
    image = np.random.default_rng([seed, at]).integers(0, 60, (20, 24, 3)).astype(np.uint8)
    image[1 + 4 * at : 6 + 4 * at, :, at % 3] += 190
    return image


def write(folder, at, count, first=0):
    folder.mkdir(parents=True)
    for seed in range(first, first + count):
        cv2.imwrite(str(folder / f"{seed:03}.png"), picture(at, seed))


@pytest.fixture
def given(workspace):
    """The user's module, pictures of three classes, and weights of the whole model for nine and for three classes."""
    shutil.copy(own_backbones.__file__, workspace / "my_backbones.py")
    for at, label in enumerate(LABELS):
        write(workspace / "pictures" / label, at, 22)
    for name in ("many", "three"):
        torch.manual_seed(5)
        whole = getattr(own_backbones, name)().train()
        images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            whole(images * 2 + 0.3)  # running statistics that are not 0 and 1
        safetensors.torch.save_file(whole.state_dict(), f"{name}.safetensors")
    return workspace


def pretrain(solver, *more, until="hidden", steps=40):
    return (
        *("pretrain", "pictures", "--size", "16,16", "--solver", f"my_backbones:{solver}", "--output", "trained"),
        *("--backbone-until", until, "--solver-epochs", 60, "--gan-steps", steps, *more),
    )


def whole_from(path, classes):
    whole = own_backbones.Whole(classes)
    load_weights(whole, safetensors.torch.load_file(path), path)
    return whole.eval()


def images_of(folder, how):
    return np.stack([image_to_input(read_image(file), how) for file in find_images(folder)])


def test_from_a_whole_model_for_other_classes_to_a_box_that_learns_one_more(reverie, given):
    done = reverie(*pretrain("many", "--solver-weights", "many.safetensors", steps=600))
    assert (done.code, done.err) == (0, "")
    assert "features" in done.out
    assert json.loads((given / "trained/pretrained.json").read_text("utf-8"))["measured"]["validation_accuracy"] > 0.9
    done = reverie("export", "trained", "--output", "bundle", "--spare-classes", 2)
    assert (done.code, done.err) == (0, "")
    assert "4 artifacts agree with torch" in done.out

    manifest = read_manifest(given / "bundle")
    assert (manifest.classes, manifest.slots, manifest.input_shape) == (LABELS, 5, (16,))
    assert manifest.backbone.until == "hidden"
    assert len(manifest.backbone.mean) == len(manifest.backbone.variance) == 16
    assert manifest.parity["backbone.onnx"]["relative"] < 1e-4
    assert manifest.training["of"] == 16 * 12 + 12 + 12 * 5 + 5
    assert (manifest.models, manifest.gaussians) == (("solver",), Gaussians(16, 0.5))
    assert "a Gaussian of each class on 16 features, with 16 directions" in " ".join(
        reverie("inspect", "bundle").out.split()
    )

    model = onnx.load("bundle/backbone.onnx")
    assert "Conv" in {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["image", "features"]

    images = images_of(given / "pictures", manifest.preprocessing)
    features = Graph((given / "bundle/backbone.onnx").read_bytes()).run({"image": images})["features"]
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=0), manifest.spread, rtol=1e-3, atol=1e-5)
    logits = Graph((given / "bundle/solver.onnx").read_bytes()).run({"input": features})["logits"]
    with torch.no_grad():
        expected = whole_from(given / "trained/solver.safetensors", 3)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits[:, :3], expected, rtol=1e-3, atol=1e-3)

    write(given / "frames" / NEW, 3, 30)
    write(given / "new" / NEW, 3, 10, first=500)
    for at, label in enumerate(LABELS):
        write(given / "known" / label, at, 10, first=500)
    assert reverie("install", "bundle", "--home", "home").code == 0
    assert reverie("update", "--frames", "frames", "--home", "home").code == 0
    for folder in ("known", "new"):
        done = reverie("predict", folder, "--home", "home", "--json")
        lines = [json.loads(line) for line in done.out.splitlines()]
        right = [line["label"] == Path(line["file"]).parent.name for line in lines]
        assert sum(right) >= 0.8 * len(right), folder
    models = store.load_models(given / "home", store.read_generation(given / "home"))
    assert models.gaussians.counts.tolist() == [22, 22, 22, 24, 0]  # of 30 frames, a fifth was held out
    first = read_gaussians((given / "bundle" / GAUSSIANS).read_bytes(), 5, 16, 16, GAUSSIANS)
    for name, values in vars(first).items():
        np.testing.assert_array_equal(getattr(models.gaussians, name)[:3], values[:3])
    assert not {"generator.onnx", "discriminator.onnx"} & {file.name for file in (given / "home").rglob("*.onnx")}


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("solver", ["many", "growing"])
def test_the_front_stays_and_a_head_for_other_classes_is_replaced_and_trained(reverie, solver):
    done = reverie(*pretrain(solver, "--solver-weights", "many.safetensors"))
    assert done.code == 0, done.err
    before = safetensors.torch.load_file("many.safetensors")
    after = safetensors.torch.load_file("trained/solver.safetensors")
    assert before.keys() == after.keys()
    assert after["head.weight"].shape == (3, 12)
    for name, value in before.items():
        if not name.startswith(("head", "hidden")):
            assert torch.equal(value, after[name]), name
    assert not torch.equal(before["hidden.weight"], after["hidden.weight"])


@pytest.mark.usefixtures("given")
def test_a_head_for_these_classes_is_kept_as_it_is(reverie):
    done = reverie(*pretrain("three", "--solver-weights", "three.safetensors"))
    assert done.code == 0
    assert "solver     step" not in done.out
    before = safetensors.torch.load_file("three.safetensors")
    after = safetensors.torch.load_file("trained/solver.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert before.keys() == after.keys()


def test_images_are_read_in_chunks_and_each_passes_the_front_once(reverie, given, monkeypatch):
    from reverie.export.solvers.backbone import Front

    passed = []
    features = Front.features
    monkeypatch.setattr(Front, "features", lambda front, x: (passed.append(len(x)), features(front, x))[1])
    assert reverie(*pretrain("growing")).code == 0
    assert sum(passed) == len(find_images(given / "pictures"))
    assert max(passed) <= CHUNK


@pytest.mark.parametrize("until", ["body.1", "neck"])
def test_maps_of_features_are_inputs_too(reverie, given, until):
    assert reverie(*pretrain("growing", until=until, steps=2)).code == 0
    done = reverie("export", "trained", "--output", "bundle", "--spare-classes", 1, "--train", "head")
    assert (done.code, done.err) == (0, "")
    shape = {"body.1": (12, 8, 8), "neck": (16, 1, 1)}[until]
    manifest = read_manifest(given / "bundle")
    assert manifest.input_shape == shape
    assert manifest.training["parameters"] == 12 * 4 + 4
    assert len(manifest.backbone.mean) == shape[0]


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 5, 4), True), ((3, 1, 4), True), ((3, 1, 1), False), ((7,), False)]
)
def test_total_variation_counts_neighbours_and_is_zero_without(shape, expected):
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    variation = total_variation(x)
    assert variation.shape == (2,)
    wanted = sum(
        np.abs(np.diff(x.numpy(), axis=axis)).reshape(2, -1).mean(axis=1)
        for axis in (2, 3)
        if len(shape) == 3 and shape[axis - 1] > 1
    )
    np.testing.assert_allclose(variation.numpy(), wanted + np.zeros(2), rtol=1e-5)
    assert bool((variation > 0).all()) == expected


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("all", {"hidden.weight", "hidden.bias", "head.weight", "head.bias"}),
        ("head", {"head.weight", "head.bias"}),
        ("last:2", {"hidden.weight", "hidden.bias", "head.weight", "head.bias"}),
        ("norm+bias", {"hidden.bias", "head.weight", "head.bias"}),
        ("hid*", {"hidden.weight", "hidden.bias", "head.weight", "head.bias"}),
    ],
)
def test_what_trains_is_chosen_among_what_is_behind_the_cut(rule, names):
    whole = own_backbones.three().eval()
    _, rest = cut_solver(whole, Backbone("hidden"), (3, 16, 16))
    chosen = select(whole, rule, torch.zeros(2, 3, 16, 16), dict(rest.named_parameters()))
    assert set(chosen.names) == names
    assert chosen.of == 16 * 12 + 12 + 12 * 3 + 3
    assert 0 < chosen.compute <= 1


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_features_of_any_scale_are_standardised_and_the_rest_undoes_it(scale):
    torch.manual_seed(0)
    whole = own_backbones.three().eval()
    with torch.no_grad():
        whole.body[1][1].weight.mul_(scale)
        whole.body[1][1].bias.mul_(scale)
    images = torch.randn(40, 3, 16, 16)
    raw = cut_solver(whole, Backbone("hidden"), (3, 16, 16))[0].features(images.numpy())
    front, rest = cut_solver(whole, feature_statistics("hidden", raw), (3, 16, 16))
    features = front.features(images.numpy())
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    assert features.var(axis=0).mean() == pytest.approx(1, rel=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(rest(torch.from_numpy(features)), whole(images), rtol=1e-3, atol=1e-4 * scale)
    assert not any(parameter.requires_grad for parameter in front.module.parameters())
    assert all(parameter.requires_grad for parameter in rest.parameters())

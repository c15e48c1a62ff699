"""A backbone together with the other options: files in ONNX format, stated preprocessing, batch statistics."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import own_backbones
import pytest
import safetensors.torch
import torch
from onnx_files import write
from test_batchnorm import fit_in_torch
from torch import nn

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.preprocess import find_images, image_to_input
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.home import store
from reverie.device_runtime.method.fit import Source, fit
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.replay import Examples
from reverie.export.pretraining.pretrained import load_networks, read_pretrained

pytestmark = pytest.mark.slow
LABELS, STEPS, BATCH = ("bolt", "nut", "washer"), 8, 8
PREPROCESS = """
import cv2, numpy as np

def preprocess(path):
    image = cv2.resize(cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB), (16, 16), interpolation=cv2.INTER_AREA)
    return ((image / 255 - (0.5, 0.4, 0.3)) / (0.2, 0.3, 0.4)).transpose(2, 0, 1)
"""


def trained_whole(name):
    torch.manual_seed(5)
    whole = getattr(own_backbones, name)().train()
    with torch.no_grad():
        whole(2 * torch.randn(64, 3, 16, 16) + 0.3)  # running statistics that are not 0 and 1
    return whole.eval()


@pytest.fixture
def given(workspace):
    """The user's module and six pictures of each of three classes."""
    shutil.copy(own_backbones.__file__, workspace / "my_backbones.py")
    for at, label in enumerate(LABELS):
        (workspace / "pictures" / label).mkdir(parents=True)
        for name in "abcdef":
            image = np.random.default_rng([at, ord(name)]).integers(0, 256, (20, 24, 3)).astype(np.uint8)
            cv2.imwrite(f"pictures/{label}/{name}.png", image)
    return workspace


def pretrain(solver, until, *more):
    return (
        *("pretrain", "pictures", "--size", "16,16", "--solver", solver, "--backbone-until", until),
        *("--output", "trained", "--solver-epochs", 2, "--gan-steps", 2, *more),
    )


def file_of(name, **how):
    whole = trained_whole(name)
    write(whole, "model.onnx", example=torch.zeros(1, 3, 16, 16), **how)
    return whole


def features_and_logits(folder, images):
    features = Graph((folder / "backbone.onnx").read_bytes()).run({"image": images})["features"]
    return features, Graph((folder / "solver.onnx").read_bytes()).run({"input": features})["logits"]


IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def pretrained_networks(spare, batchnorm="frozen"):
    """What `reverie export` would export."""
    return load_networks(read_pretrained(Path("trained")), "own", spare, batchnorm=batchnorm)


def halves(networks):
    """Logits of the images by way of the features."""
    with torch.no_grad():
        return networks.solver(torch.from_numpy(networks.front.features(IMAGES.numpy())))


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("until", "how"),
    [("/hidden/Gemm", {"opset": 18}), ("onnx_nodes.hidden_Gemm", {}), ("node_linear", {"dynamo": True})],
    ids=["a node of torch's older exporter", "by its module's path", "a node of its newer one"],
)
def test_a_file_is_cut_before_a_node_and_the_halves_compute_what_the_file_does(reverie, until, how):
    whole = file_of("three", **how)
    done = reverie(*pretrain("model.onnx", until))
    assert (done.code, done.err) == (0, "")
    assert "solver     step" not in done.out, "a file that fits the classes is trained already"
    networks = pretrained_networks(0)
    assert {name for name, _ in networks.solver.named_parameters()} == {
        *("hidden.weight", "hidden.bias", "head.weight", "head.bias")
    }
    torch.testing.assert_close(halves(networks), whole(IMAGES), rtol=1e-3, atol=1e-3)


def test_a_box_gets_both_halves_of_a_file_for_one_image(reverie, given):
    whole = file_of("three", fixed=True, opset=13)
    assert reverie(*pretrain("model.onnx", "/hidden/Gemm")).code == 0
    (given / "model.onnx").unlink()
    (given / "trained").rename(given / "moved")
    done = reverie("export", "moved", "--output", "bundle", "--spare-classes", 2, "--train", "head")
    assert (done.code, done.err) == (0, "")
    manifest = read_manifest(given / "bundle")
    assert (manifest.input_shape, manifest.backbone.until) == ((16,), "/hidden/Gemm")
    assert manifest.tensors["solver"].keys() >= {"solver.hidden.weight", "solver.head.weight"}
    assert (manifest.training["parameters"], manifest.training["of"]) == (12 * 5 + 5, 16 * 12 + 12 + 12 * 5 + 5)
    assert manifest.parity["the given .onnx file"]["relative"] < 1e-4
    _, logits = features_and_logits(given / "bundle", IMAGES.numpy())
    np.testing.assert_allclose(logits[:, :3], whole(IMAGES).detach().numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("given")
def test_a_file_for_other_classes_gets_a_new_head_and_keeps_its_front(reverie):
    whole = file_of("many")
    done = reverie(*pretrain("model.onnx", "/hidden/Gemm"))
    assert (done.code, done.err) == (0, "")
    assert "solver     step" in done.out
    after = safetensors.torch.load_file("trained/solver.safetensors")
    assert (after["head.weight"].shape, after["head.bias"].shape) == ((3, 12), (3,))
    assert after["head.weight"].std() > 0.05
    networks = pretrained_networks(4)
    assert halves(networks).shape == (4, 7)
    raw = 30 * whole.neck(whole.pool(whole.body(whole.stem(IMAGES)))).detach()
    stated = networks.front.described
    expected = (raw.numpy() - np.asarray(stated.mean, np.float32)) / stated.scale
    np.testing.assert_allclose(networks.front.features(IMAGES.numpy()), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("given")
def test_what_does_not_fit_a_file_to_cut_is_refused(refused):
    file_of("many")
    assert "no module 'onnx_nodes.hiden_Gemm' to cut before; nearest: onnx_nodes.hidden_Gemm" in refused(
        *pretrain("model.onnx", "/hiden/Gemm")
    )
    for name, network in {"generator": own_backbones.Maker(3), "discriminator": own_backbones.Judge(3)}.items():
        torch.save(network.state_dict(), f"{name}.pt")
    own = ("--generator", "my_backbones:Maker", "--generator-weights", "generator.pt")
    own += ("--discriminator", "my_backbones:Judge", "--discriminator-weights", "discriminator.pt")
    own += ("--classes", "bolt,nut,washer", "--input-shape", "3,16,16")
    cut = ("--solver", "model.onnx", "--backbone-until", "/hidden/Gemm")
    said = refused("export", "--output", "out", *own, *cut)
    assert "model.onnx does not fit: head.weight is (9, 12), the network has (3, 12)" in said


def test_stated_preprocessing_its_comparison_and_the_order_of_classes_hold_behind_a_backbone(reverie, given):
    (given / "my_preprocessing.py").write_text(PREPROCESS, encoding="utf-8")
    stated = ("--mean", "0.5,0.4,0.3", "--std", "0.2,0.3,0.4", "--interpolation", "area", "--colour", "rgb")
    compared = ("--preprocess-with", "my_preprocessing:preprocess", "--photos", "pictures")
    order = ("--classes", "washer,bolt,nut")
    assert reverie(*pretrain("my_backbones:growing", "hidden", *stated, *compared, *order)).code == 0
    done = reverie("export", "trained", "--output", "bundle")
    assert (done.code, done.err) == (0, "")
    manifest = read_manifest(given / "bundle")
    assert manifest.classes == ("washer", "bolt", "nut")
    how = manifest.preprocessing
    assert (how.interpolation, how.colour, how.resize) == ("area", "rgb", "stretch")
    np.testing.assert_allclose(how.mean, (127.5, 102, 76.5), rtol=1e-6)
    np.testing.assert_allclose(how.scale, (51, 76.5, 102), rtol=1e-6)
    assert manifest.unknown["measured"]["preprocessing"]["mean"] < 0.01
    images = np.stack([image_to_input(read_image(file), how) for file in find_images(given / "pictures")])
    features, _ = features_and_logits(given / "bundle", images)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    text = " ".join(reverie("inspect", "bundle").out.split())
    assert "preprocessing beside my_preprocessing:preprocess on 18 photographs" in text
    assert "until hidden; inputs are its features, 16" in text


@pytest.mark.usefixtures("given")
def test_a_preprocessing_that_is_not_the_stated_one_is_refused_before_any_feature_is_computed(refused):
    Path("my_preprocessing.py").write_text(PREPROCESS, encoding="utf-8")
    compared = ("--preprocess-with", "my_preprocessing:preprocess", "--photos", "pictures")
    assert "the preprocessing differs from my_preprocessing:preprocess" in refused(
        *pretrain("my_backbones:growing", "hidden", *compared)
    )


def examples(at, shape, slots):
    draw = torch.Generator().manual_seed(at)
    targets = torch.softmax(2 * torch.randn(BATCH, slots, generator=draw), dim=1)
    inputs = 2 * torch.randn(BATCH, *shape, generator=draw) + 3
    return Examples(inputs.numpy(), targets.numpy(), np.ones(BATCH, np.float32))


class Rest(nn.Module):
    """What is behind the cut before `body.1`, on features · scale + mean, in the user's own modules."""

    def __init__(self, whole, described):
        super().__init__()
        self.whole, self.scale = whole, described.scale
        self.register_buffer("mean", torch.tensor(described.mean).reshape(1, -1, 1, 1))

    def forward(self, features):
        x = self.whole.body[1](features * self.scale + self.mean)
        x = 30 * self.whole.neck(self.whole.pool(x))
        return self.whole.head(torch.relu(self.whole.hidden(x)))


def test_batch_statistics_behind_a_backbone_follow_as_in_torch_and_the_front_stays(reverie, given):
    whole = trained_whole("three")
    safetensors.torch.save_file(whole.state_dict(), "three.safetensors")
    assert reverie(*pretrain("my_backbones:three", "body.1", "--solver-weights", "three.safetensors")).code == 0
    frozen, follows = pretrained_networks(0), pretrained_networks(0, "train")
    assert torch.equal(halves(frozen), halves(follows))
    assert not any(parameter.requires_grad for parameter in follows.front.module.parameters())
    done = reverie("export", "trained", "--output", "bundle", "--spare-classes", 0, "--batchnorm", "train")
    assert (done.code, done.err) == (0, "")
    manifest = read_manifest(given / "bundle")
    names = ("solver.body.1.1.running_mean", "solver.body.1.1.running_var")
    assert manifest.training["statistics"] == dict.fromkeys(names, 0.1)
    assert set(names) < manifest.tensors["solver"].keys()
    behind = sum(parameter.numel() for parameter in frozen.solver.parameters())
    assert manifest.training["parameters"] == manifest.training["of"] == behind

    installation.install(given / "bundle", given / "home")
    models = store.load_models(given / "home", store.read_generation(given / "home"))
    config = dataclasses.replace(UpdateConfig().fine_tune, steps=STEPS, batch=BATCH, window=100)
    monitor = Monitor()
    with monitor.stage("fine-tune"):
        source = Source(lambda at, _: examples(at, manifest.input_shape, 3), 1.0)
        ours = fit(models, [source], np.ones(3, np.float32), config, 0, monitor)

    theirs = fit_in_torch(Rest(whole, manifest.backbone), lambda at: examples(at, manifest.input_shape, 3), config)
    for name, value in ours.items():
        other = theirs[name.replace("solver.", "solver.whole.", 1)].numpy()
        np.testing.assert_allclose(value, other, rtol=1e-3, atol=1e-5, err_msg=name)
    assert np.abs(ours[names[0]] - models.solver[names[0]]).max() > 1e-2


@pytest.mark.usefixtures("given")
def test_batch_statistics_are_refused_where_no_normalization_is_behind_the_backbone(reverie, refused):
    assert reverie(*pretrain("my_backbones:growing", "hidden")).code == 0
    said = refused("export", "trained", "--output", "out", "--batchnorm", "train")
    assert "no batch normalization is behind the backbone, leave the option away" in said

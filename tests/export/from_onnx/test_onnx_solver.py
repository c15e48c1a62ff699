"""A solver given as a file in ONNX format: it computes what the file computes, and trains like the module it was."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from onnx_files import IMAGES, Normed, keras_file, write
from own_networks import Net
from training import assert_trains_like_torch
from workstation_support import SLOTS

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.engine.graph import Graph
from reverie.export.from_onnx.functions import FUNCTIONS
from reverie.export.from_onnx.solver import OnnxSolver, compare_with_file
from reverie.export.lowering import operators
from reverie.export.lowering.rules import RULES
from reverie.export.pretraining.pretrained import load_networks, merge_own
from reverie.export.solvers.trainable import select

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def normed():
    torch.manual_seed(2)
    return Normed().eval()


@pytest.mark.parametrize("fixed", [False, True], ids=["free", "fixed"])
@pytest.mark.parametrize(
    ("opset", "dynamo"), [(11, False), (13, False), (17, False), (18, True), (20, True), (21, True)]
)
def test_every_opset_and_batch_gives_torchs_logits_and_gradients_under_torchs_names(
    normed, tmp_path, opset, dynamo, fixed
):
    solver = OnnxSolver(write(normed, tmp_path / "model.onnx", opset, fixed, dynamo), (1, 8, 8)).eval()
    assert compare_with_file(solver).relative < 1e-5
    torch.testing.assert_close(solver(IMAGES), normed(IMAGES))
    theirs = dict(normed.named_parameters())
    ours = dict(solver.named_parameters())
    assert ours.keys() == theirs.keys()
    weights = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    found = torch.autograd.grad((solver(IMAGES) * weights).sum(), list(ours.values()))
    expected = torch.autograd.grad((normed(IMAGES) * weights).sum(), [theirs[name] for name in ours])
    for name, some, other in zip(ours, found, expected, strict=True):
        torch.testing.assert_close(some, other, msg=name)


def test_a_file_with_batch_normalization_trains_on_the_device_like_torch(tmp_path):
    torch.manual_seed(4)
    solver = OnnxSolver(write(Normed(SLOTS), tmp_path / "model.onnx"), (1, 8, 8))
    assert "BatchNormalization" in assert_trains_like_torch(solver, tmp_path / "solver_train", floor=1e-2)


def test_the_parameters_of_each_node_are_a_layer_for_what_trains(normed, tmp_path):
    solver = OnnxSolver(write(normed, tmp_path / "model.onnx"), (1, 8, 8)).eval()

    def names(rule):
        return set(select(solver, rule, IMAGES).names)

    assert names("head") == {"head.weight", "head.bias"}
    assert names("last:2") == names("head") | {"scale"}
    assert names("norm+bias") == names("head") | {"norm.weight", "norm.bias", "stem.bias", "side.bias"}
    assert names("s*") == names("head") | {"stem.weight", "stem.bias", "side.weight", "side.bias", "scale"}
    assert names("all") == {name for name, _ in normed.named_parameters()}
    assert 0 < select(solver, "head", IMAGES).compute < 1


def served(folder, images=IMAGES):
    return Graph((folder / "solver.onnx").read_bytes()).run({"input": images.numpy()})


def test_a_bundle_from_a_file_serves_its_logits_has_spare_classes_and_says_how_it_compares(own_file, reverie):
    folder = own_file.export()
    known = own_file.saved["solver"].eval()(IMAGES).detach()
    logits = torch.from_numpy(served(folder)["logits"])
    torch.testing.assert_close(logits[:, :3], known, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits[:, 3:] + 1e4, known.mean(1, keepdim=True).expand(-1, 4), atol=2e-3, rtol=0)
    manifest = read_manifest(folder)
    assert manifest.tensors["solver"].keys() >= {"solver.features.0.weight", "solver.head.weight", "solver.head.bias"}
    assert manifest.parity["the given .onnx file"]["relative"] < 1e-5
    assert "the given .onnx file" in reverie("inspect", folder).out


def networks_with(spare, **changes):
    """What `reverie export` would export."""
    given = {f"{name}_weights": f"{name}.pt" for name in ("generator", "discriminator")}
    given |= {"solver": "model.onnx", "generator": "my_networks:Maker", "discriminator": "my_networks:Judge"} | changes
    return load_networks(merge_own(None, given, ("cup", "box", "pen"), (1, 8, 8)), "own", spare)


def test_weights_of_another_training_take_the_place_of_the_files(own_file):
    other = Net(3).eval()
    torch.save(other.state_dict(), own_file.folder / "other.pt")
    torch.testing.assert_close(networks_with(0, solver_weights="other.pt").solver(IMAGES), other(IMAGES))


def test_what_pretrain_writes_holds_the_file_and_can_be_moved(own, reverie, workspace):
    rng = np.random.default_rng(0)
    for label in ("box", "cup", "pen"):
        (workspace / "photos" / label).mkdir(parents=True)
        for at in range(6):
            cv2.imwrite(str(workspace / f"photos/{label}/{at}.png"), rng.integers(0, 255, (8, 8), dtype=np.uint8))
    write(own.saved["solver"], workspace / "model.onnx")
    finished = reverie(
        "pretrain",
        "photos",
        "--solver",
        "model.onnx",
        "--gan-steps",
        "2",
        "--output",
        "trained",
        "--classes",
        "pen,box,cup",
    )
    assert finished.code == 0, finished
    (workspace / "model.onnx").unlink()
    (workspace / "trained").rename(workspace / "moved")
    finished = reverie("export", "moved", "--output", "bundle")
    assert finished.code == 0, finished
    assert read_manifest(workspace / "bundle").classes == ("pen", "box", "cup")
    logits = served(workspace / "bundle")["logits"][:, :3]
    np.testing.assert_allclose(logits, own.saved["solver"](IMAGES).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_file_with_channels_last_and_a_softmax_is_turned_and_cut(own_file):
    file = keras_file(own_file.folder / "keras.onnx")
    solver = networks_with(2, solver="keras.onnx").solver
    expected = Graph(file.read_bytes()).run({"x": IMAGES.permute(0, 2, 3, 1).contiguous().numpy()})["y"]
    logits = solver(IMAGES)
    torch.testing.assert_close(torch.softmax(logits[:, :3], 1), torch.from_numpy(expected), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logits[:, 3:], logits[:, :3].mean(1, keepdim=True).expand(-1, 2))
    assert "model.dense.MatMul.ReadVariableOp_0" in dict(solver.named_parameters())


def test_every_operator_that_trains_or_is_lowered_can_be_given_in_a_file():
    assert FUNCTIONS.keys() >= (operators.TRAINABLE | operators.WITHOUT_GRADIENT | RULES.keys()) - {"Constant"}

"""Which solvers end in a linear layer whose input has statistics, and what pretraining and export make of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from workstation_support import EPOCH, SLOTS, TINY, TinySolver

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.manifest import STATISTICS
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.bundle.statistics import read_statistics
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.method.closed_form import plain_layer, statistics_of
from reverie.export.exporter import export_bundle
from reverie.export.pretraining.hidden import AT_ONCE, hidden_statistics
from reverie.export.pretraining.pipeline import pretrain_arrays
from reverie.export.pretraining.pretrained import load_networks, merge_own
from reverie.export.pretraining.training import PretrainConfig
from reverie.export.solvers.last_layer import entered, last_layer


class OnMaps(nn.Module):
    """One linear layer on each pixel, then the mean over them."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, SLOTS)

    def forward(self, images):
        return self.head(images.flatten(2).permute(0, 2, 1)).mean(dim=1)


class Scaled(TinySolver):
    """More than the layer makes the logits."""

    def forward(self, images):
        return 2 * super().forward(images)


class Twice(TinySolver):
    """The layer makes the logits, and before that something else."""

    def forward(self, images):
        hidden = self.features(images).flatten(1)
        return self.classifier(hidden + self.classifier(hidden).mean())


def in_a_row(*layers):
    return nn.Sequential(nn.Flatten(), *layers)


@pytest.mark.parametrize(
    ("solver", "path"),
    [
        (TinySolver(nn.ReLU()), "classifier"),
        (in_a_row(nn.Linear(64, 10), nn.ReLU(), nn.Linear(10, SLOTS)), "3"),
        (in_a_row(nn.Linear(64, SLOTS)), "1"),
        (in_a_row(nn.Linear(64, SLOTS, bias=False)), None),
        (in_a_row(nn.Linear(64, SLOTS), nn.LogSoftmax(dim=1)), None),
        (in_a_row(nn.Linear(64, 2049), nn.Linear(2049, SLOTS)), None),
        (nn.Sequential(nn.Conv2d(1, SLOTS, 8), nn.Flatten()), None),
        (OnMaps(), None),
        (Scaled(nn.ReLU()), None),
        (Twice(nn.ReLU()), None),
    ],
    ids=["its own", "in a row", "alone", "no bias", "a softmax", "too wide", "none", "maps", "scaled", "twice"],
)
def test_the_last_layer_is_found_where_it_is_linear_on_rows_and_makes_the_logits(solver, path):
    assert last_layer(solver, TINY) == path


def test_what_enters_it_makes_the_logits():
    solver, images = TinySolver(nn.ReLU()), torch.randn(5, *TINY)
    with torch.no_grad():
        assert torch.equal(solver.classifier(entered(solver, "classifier", images)), solver(images))


def three_kinds(each, seed=0):
    """Noise, brighter from class to class, and the classes."""
    labels = np.repeat(np.arange(3), each)
    noise = np.random.default_rng(seed).normal(0, 0.3, (len(labels), *TINY))
    return np.float32(noise + 0.6 * (labels - 1)[:, None, None, None]), labels


def test_statistics_are_of_all_images_however_many_are_seen_at_a_time():
    torch.manual_seed(0)
    solver = TinySolver(nn.ReLU(), slots=3)
    inputs, labels = three_kinds(AT_ONCE // 2)
    hidden = entered(solver, "classifier", torch.from_numpy(inputs)).double().numpy()
    solved_layer = plain_layer(statistics_of(hidden, labels, 3), 0.1)
    with torch.no_grad():
        for values, solved in zip(solver.classifier.parameters(), solved_layer, strict=True):
            values.copy_(torch.from_numpy(solved))
    found = hidden_statistics(solver, inputs, labels)
    means = np.stack([hidden[labels == slot].mean(axis=0) for slot in range(3)])
    np.testing.assert_allclose(found.means, means, atol=1e-6)
    away = hidden - means[labels]
    np.testing.assert_allclose(found.scatter, away.T @ away, rtol=1e-4, atol=1e-4 * np.abs(found.scatter).max())
    assert found.counts.tolist() == [AT_ONCE // 2] * 3


def test_classes_of_three_images_and_solvers_without_such_a_layer_go_without():
    assert hidden_statistics(TinySolver(nn.ReLU(), slots=3), *three_kinds(3)) is None
    assert hidden_statistics(Scaled(nn.ReLU(), slots=3), *three_kinds(30)) is None


def tiny_solver(classes):
    return TinySolver(nn.ReLU(), slots=classes)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Tiny networks trained on three kinds of image, in a folder."""
    folder = tmp_path_factory.mktemp("pretrained") / "trained"
    config = PretrainConfig(solver_epochs=20, solver_batch=16, solver_learning_rate=1e-2, gan_steps=2, gan_batch=8)
    factories = {"solver": f"{__name__}:tiny_solver"}
    kinds = three_kinds(40)
    how = Preprocessing(8, 8, "grey")
    return pretrain_arrays(*kinds, ("a", "b", "c"), how, folder, config, lambda *_: None, factories)


@pytest.fixture(scope="module")
def made(pretrained, tmp_path_factory):
    """The networks with two spare slots, and their bundle."""
    networks = load_networks(pretrained, "tiny", 2)
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        export_bundle(networks, folder, lambda _: None)
    return networks, folder


@pytest.mark.slow
def test_a_bundle_holds_the_statistics_and_its_solver_gives_what_they_are_of(made):
    networks, folder = made
    manifest = read_manifest(folder)
    hidden = manifest.hidden
    assert (hidden.size, hidden.weight, hidden.epsilon) == (128, "solver.classifier.weight", 0.1)
    kept = read_statistics((folder / STATISTICS).read_bytes(), 5, 128, STATISTICS)
    assert kept.counts.tolist() == [40, 40, 40, 0, 0]
    inputs, labels = three_kinds(40)
    seen = Graph((folder / "solver.onnx").read_bytes()).run({"input": inputs})
    expected = entered(networks.solver, "classifier", torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(seen["hidden"], expected, atol=1e-5)
    np.testing.assert_allclose(kept.means[1], expected[labels == 1].mean(axis=0), atol=1e-5)
    assert manifest.parity["solver.onnx"]["relative"] < 1e-4
    weight, bias = plain_layer(kept, 0.1)
    ours, plain = ((logits - logits.mean(axis=1, keepdims=True)) for logits in (
        seen["logits"][:, :3], (expected @ weight.T + bias)[:, :3]
    ))  # fmt: skip
    assert hidden.slope == pytest.approx((ours * plain).sum() / (plain * plain).sum(), rel=1e-3)


@pytest.mark.slow
def test_another_solver_in_its_place_goes_without(pretrained, tmp_path):
    folder = pretrained.weights["solver"].parent
    assert json.loads((folder / "pretrained.json").read_text("utf-8"))["hidden_size"] == 128
    torch.save(tiny_solver(3).state_dict(), tmp_path / "other.pt")
    own = {"solver": f"{__name__}:tiny_solver", "solver_weights": str(tmp_path / "other.pt")}
    assert load_networks(merge_own(folder, own, (), None), "other", 2).last_layer is None
    assert load_networks(merge_own(folder, {}, (), None), "same", 2).last_layer.path == "classifier"

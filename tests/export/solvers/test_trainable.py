"""Choosing what trains of the solver: the right parameters, torch's gradients for them, and nothing else moves."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from onnx_files import write
from torch import nn
from workstation_support import (
    TINY,
    TinySolver,
    as_numpy,
    assert_agrees,
    device_gradients,
    example,
    tiny_networks,
    torch_gradients,
    weights_of,
)

from reverie.device_runtime.bundle.contents import read_manifest, training_graph
from reverie.device_runtime.changes import installation
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.errors import ExportError
from reverie.device_runtime.home import store
from reverie.device_runtime.method.labelled import Frames
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update
from reverie.export.exporter import export_bundle
from reverie.export.from_onnx.solver import OnnxSolver
from reverie.export.graphs import graphs
from reverie.export.pretraining.networks import ReferenceSolver
from reverie.export.solvers.trainable import select

pytestmark = pytest.mark.slow

IMAGES = torch.zeros(2, 1, 28, 28)


class Backwards(nn.Module):
    """Calls its layers in another order than they stand in."""

    def __init__(self):
        super().__init__()
        self.last, self.norm, self.first = nn.Linear(4, 3), nn.BatchNorm1d(4), nn.Linear(784, 4)

    def forward(self, images):
        return self.last(self.norm(self.first(images.flatten(1))))


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("head", {"last.weight", "last.bias"}),
        ("last:1", {"last.weight", "last.bias"}),
        ("last:2", {"last.weight", "last.bias", "norm.weight", "norm.bias"}),
        ("last:3", {"last.weight", "last.bias", "norm.weight", "norm.bias", "first.weight", "first.bias"}),
        ("all", {"last.weight", "last.bias", "norm.weight", "norm.bias", "first.weight", "first.bias"}),
        ("norm+bias", {"last.weight", "last.bias", "norm.weight", "norm.bias", "first.bias"}),
        ("first.*", {"last.weight", "last.bias", "first.weight", "first.bias"}),
        ("*.bias", {"last.weight", "last.bias", "norm.bias", "first.bias"}),
    ],
)
def test_a_rule_names_layers_in_the_order_in_which_they_are_called_and_the_head_always_trains(rule, names):
    chosen = select(Backwards(), rule, IMAGES)
    assert set(chosen.names) == names
    sizes = {name: parameter.numel() for name, parameter in Backwards().named_parameters()}
    assert (chosen.parameters, chosen.of) == (sum(sizes[name] for name in names), sum(sizes.values()))


@pytest.mark.parametrize("rule", ["last:0", "last:4", "last:-1", "last:x", "last:"])
def test_more_layers_than_there_are_is_refused_with_their_number(rule):
    with pytest.raises(ExportError, match="is not last:1 to last:3"):
        select(Backwards(), rule, IMAGES)


def test_a_pattern_that_matches_nothing_is_refused_with_an_example():
    with pytest.raises(ExportError, match=r"--train frist\* matches no parameter: .* such as last\.\*"):
        select(Backwards(), "frist*", IMAGES)


def test_the_share_of_compute_is_that_of_the_first_layer_that_trains_and_all_behind_it():
    solver = ReferenceSolver((1, 28, 28), 10)
    operations = [28 * 28 * 9 * 16, 14 * 14 * 9 * 16 * 32, 7 * 7 * 32 * 128, 128 * 10]
    for layers in range(1, 5):
        expected = sum(operations[-layers:]) / sum(operations)
        assert select(solver, f"last:{layers}", IMAGES).compute == pytest.approx(expected)
    assert select(solver, "norm+bias", IMAGES).compute == 1


@pytest.fixture(scope="module")
def partly(tmp_path_factory):
    """Networks of which the solver's last two layers train, and their bundle."""
    torch.manual_seed(0)
    solver = TinySolver(nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU())
    networks = dataclasses.replace(tiny_networks(solver), train="last:2")
    folder = tmp_path_factory.mktemp("partly") / "bundle"
    export_bundle(networks, folder, lambda _: None)
    return networks, folder


def test_what_trains_has_torchs_gradients_and_the_rest_has_none(partly):
    networks, folder = partly
    module = graphs.SolverTraining(networks.solver)
    step = TrainStep(training_graph(folder / "solver_train"), weights_of(module))
    trained = {
        "solver.features.2.weight",
        "solver.features.2.bias",
        "solver.classifier.weight",
        "solver.classifier.bias",
    }
    assert step.weights().keys() == trained
    theirs = {"loss": "loss"} | {name: name for name in trained}
    feeds = example(module, networks, 5, 3)
    assert_agrees(
        lambda feeds: device_gradients(step, feeds, {}),
        lambda feeds: {n: v for n, v in torch_gradients(module, feeds, "solver.").items() if n in theirs},
        feeds,
        1e-4,
    )


def test_an_update_moves_what_trains_and_leaves_the_rest_bit_for_bit(partly, quick, tmp_path):
    _, folder = partly
    home = tmp_path / "home"
    before = store.load_models(home, installation.install(folder, home))
    rng = np.random.default_rng(0)
    frames = Frames(rng.normal(size=(12, *TINY)).astype(np.float32), np.arange(12) % 2, ("cup", "new"))
    after = run_update(before, frames, quick, Monitor()).models
    assert after.solver.keys() == before.solver.keys()
    moved = {name for name in after.solver if after.solver[name].tobytes() != before.solver[name].tobytes()}
    assert moved == {
        "solver.features.2.weight", "solver.features.2.bias", "solver.classifier.weight", "solver.classifier.bias",
    }  # fmt: skip


def test_the_manifest_and_inspect_say_what_trains(partly, reverie):
    networks, folder = partly
    sizes = {name: p.numel() for name, p in networks.solver.named_parameters()}
    trained = sum(size for name, size in sizes.items() if name.startswith(("features.2", "classifier")))
    training = read_manifest(folder).training
    assert (training["rule"], training["parameters"], training["of"]) == ("last:2", trained, sum(sizes.values()))
    said = " ".join(reverie("inspect", folder).out.split())
    assert f"last:2 of the solver trains: {trained:,} of {sum(sizes.values()):,} parameters" in said
    assert json.loads(reverie("inspect", folder, "--json").out)["training"] == training


def test_values_given_to_a_training_graph_do_not_reach_what_is_frozen(partly):
    """Weights that are constants of the graph cannot be set from outside by mistake."""
    networks, folder = partly
    module = graphs.SolverTraining(networks.solver)
    feeds = as_numpy(example(module, networks, 4, 1))
    doubled = {name: 2 * value if ".features.0." in name else value for name, value in weights_of(module).items()}
    losses = [
        TrainStep(training_graph(folder / "solver_train"), w).gradients(feeds)[0]["loss"]
        for w in (weights_of(module), doubled)
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("rule", ["head", "last:1", "norm+bias"])
def test_the_head_of_a_file_trains_also_where_it_is_two_nodes(tmp_path, rule):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(64, 5)
            self.matrix, self.offset = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(3))

        def forward(self, images):
            return self.first(images.flatten(1)).relu() @ self.matrix + self.offset

    write(Two(), tmp_path / "two.onnx")
    solver = OnnxSolver(tmp_path / "two.onnx", (1, 8, 8))
    chosen = select(solver, rule, torch.zeros(2, 1, 8, 8))
    assert set(solver.onnx_plan.head) <= set(chosen.names)
    assert chosen.parameters == 5 * 3 + 3 + (5 if rule == "norm+bias" else 0)
    assert select(solver, "last:2", torch.zeros(2, 1, 8, 8)).parameters == 64 * 5 + 5 + 5 * 3 + 3
    with pytest.raises(ExportError, match="last:1 to last:2"):
        select(solver, "last:3", torch.zeros(2, 1, 8, 8))

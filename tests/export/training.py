"""A solver's training graph on the device's engine beside torch."""

from __future__ import annotations

from torch import nn
from workstation_support import (
    BATCHES,
    assert_agrees,
    device_gradients,
    example,
    tiny_networks,
    torch_gradients,
    weights_of,
)

from reverie.device_runtime.bundle.contents import training_graph
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.export.graphs import artifacts, graphs, onnx_export
from reverie.export.lowering import operators


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def training_artifacts(solver, folder):
    """The solver's training graph, made as `export_bundle` does it.

    Returns its module, the networks, and the types of its operators before and after the lowering.
    """
    module = graphs.SolverTraining(solver)
    networks = tiny_networks(solver)
    model = onnx_export.to_onnx(module, example(module, networks, 2, 0), ("loss", "logits"), ("active",))
    types = {node.op_type for node in model.graph.node}
    operators.make_trainable(model, set(weights_of(module)))
    types |= {node.op_type for node in model.graph.node}
    artifacts.prepare(model, list(weights_of(module)))
    artifacts.write_training(model, list(weights_of(module)), folder)
    return module, networks, types


def assert_trains_like_torch(solver, folder, floor=0.0):
    module, networks, types = training_artifacts(solver, folder)
    step = TrainStep(training_graph(folder), weights_of(module))
    for count in BATCHES:
        feeds = example(module, networks, count, count)
        assert_agrees(
            lambda feeds: device_gradients(step, feeds, {}),
            lambda feeds: torch_gradients(module, feeds, "solver."),
            feeds,
            1e-4,
            floor,
        )
    return types

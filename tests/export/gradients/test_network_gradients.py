"""The gradients of whole networks, in each form of their graphs: torch's, and in operators of the ordinary engine."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from own_gradients import ORDINARY
from workstation_support import (
    BATCHES,
    SMALL,
    as_numpy,
    assert_agrees,
    decisive,
    example,
    example_networks,
    in_float64,
    redrawn,
    weights_of,
)

from reverie.device_runtime.engine.graph import Graph, block_size
from reverie.export.graphs import artifacts, graphs, onnx_export
from reverie.export.graphs.examples import unbatched
from reverie.export.lowering import operators
from reverie.export.rewriting import rewriting

NETWORKS = example_networks(SMALL)


def synthesis_loss():
    return graphs.SynthesisLoss(*(decisive(redrawn(NETWORKS.solver, seed), SMALL) for seed in (1, 2)))


MODULES = {
    "solver": lambda: graphs.SolverTraining(NETWORKS.solver),
    "discriminator": lambda: graphs.DiscriminatorTraining(NETWORKS.discriminator),
    "generator": lambda: graphs.GeneratorTraining(NETWORKS.generator, NETWORKS.discriminator, NETWORKS.solver),
    "input": lambda: graphs.ImageSynthesis(synthesis_loss()),
    "noise": lambda: graphs.NoiseSynthesis(synthesis_loss(), NETWORKS.generator),
}
"""What is trained, or searched for, and the module with its loss."""


def torchs(module, feeds, wanted):
    """The loss and its gradients for inputs and parameters, from torch's autograd in float64."""
    module, feeds = in_float64(module, feeds)
    sources = dict(module.named_parameters()) | feeds
    for name in wanted:
        sources[name].requires_grad_()
    outputs = module(**feeds)
    loss = outputs[0] if isinstance(outputs, tuple) else outputs
    gradients = torch.autograd.grad(loss, [sources[name] for name in wanted])
    return as_numpy({"loss": loss} | {f"{name}_grad": g for name, g in zip(wanted, gradients, strict=True)})


@pytest.mark.parametrize("what", MODULES)
def test_every_form_of_a_networks_graph_has_torchs_gradients_in_ordinary_operators(what):
    module = MODULES[what]()
    weights = weights_of(module)
    wanted = [name for name in weights if name.startswith(f"{what}.")] or [what]
    outputs = ("loss", "second", "third")[: {"discriminator": 1, "noise": 3}.get(what, 2)]
    model = onnx_export.to_onnx(module, example(module, NETWORKS, 2, 0), outputs, unbatched(module))
    operators.make_trainable(model, set(wanted))
    onnx_export.weights_to_inputs(model, weights)
    artifacts.give_gradients(model, wanted)
    for path, form in rewriting.forms(model, "m.onnx").items():
        beyond = {(node.domain, node.op_type) for node in form.graph.node if node.domain}
        assert beyond <= ORDINARY
        assert not {node.op_type for node in form.graph.node if node.op_type.endswith("Grad")}
        if path in {"m.onnx", f"m.blocked{block_size()}.onnx"}:
            compare(Graph(form.SerializeToString()), module, weights, wanted)


def compare(graph, module, weights, wanted):
    names = ["loss", *(f"{name}_grad" for name in wanted)]

    def ours(feeds):
        results = graph.run(as_numpy(feeds) | weights)
        return {name: np.asarray(results[name]) for name in names}

    for seed, count in enumerate(BATCHES):
        feeds = example(module, NETWORKS, count, seed)
        assert_agrees(ours, lambda feeds: torchs(module, feeds, wanted), feeds, 1e-4)

"""The input-gradient graphs and the serving graphs of a bundle beside torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from workstation_support import (
    BATCHES,
    CLASSES,
    SHAPES,
    SLOTS,
    SMALL,
    as_numpy,
    assert_agrees,
    assert_close,
    decisive,
    example,
    in_float64,
    redrawn,
    weights_of,
)

from reverie.device_runtime.bundle.contents import write_weights
from reverie.device_runtime.engine.graph import Graph
from reverie.export.graphs import graphs
from reverie.export.graphs.graphs import SYNTHESIS_LOSSES

TOLERANCE = 1e-4
SHAPE_NAMES = ["x".join(map(str, shape)) for shape in SHAPES]


def synthesis(made, kind):
    """The torch module of synthesis_<kind>.onnx, for two solvers and a generator that the exporter never saw."""
    networks = made.networks
    solvers = (decisive(redrawn(networks.solver, seed), networks.input_shape) for seed in (1, 2))
    pair = graphs.SynthesisLoss(*solvers)
    if kind == "image":
        return graphs.ImageSynthesis(pair)
    return graphs.NoiseSynthesis(pair, redrawn(networks.generator, 3))


def searched(kind):
    return "input" if kind == "image" else "noise"


def torch_search(module, feeds, wanted):
    module, feeds = in_float64(module, feeds)
    source = feeds[wanted].clone().requires_grad_()
    loss, each, *_ = module(**feeds | {wanted: source})
    (gradient,) = torch.autograd.grad(loss, source)
    return as_numpy({"loss": loss, "each": each, f"{wanted}_grad": gradient})


def device_search(graph, feeds, wanted):
    outputs = graph.run(as_numpy(feeds))
    return {name: outputs[name] for name in ("loss", "each", f"{wanted}_grad")}


@pytest.fixture(scope="module", params=["image", "noise"])
def small_search(request, exported):
    """One synthesis graph for small images, and the same in torch."""
    made = exported(SMALL)
    module = synthesis(made, request.param)
    graph = Graph((made.folder / f"synthesis_{request.param}.onnx").read_bytes(), weights_of(module))
    return made, module, graph, searched(request.param)


@pytest.mark.parametrize("kind", ["image", "noise"])
@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_NAMES)
def test_each_synthesis_loss_alone_has_torchs_input_gradient_at_two_batch_sizes(exported, shape, kind):
    made = exported(shape)
    module = synthesis(made, kind)
    graph = Graph((made.folder / f"synthesis_{kind}.onnx").read_bytes(), weights_of(module))
    wanted = searched(kind)
    for at, name in enumerate(SYNTHESIS_LOSSES):
        for count in BATCHES:
            feeds = example(module, made.networks, count, at) | {"choose": torch.eye(5)[at]}
            gradient = torch_search(module, feeds, wanted)[f"{wanted}_grad"]
            assert np.abs(gradient).max() > 1e-4, f"{name} asks for nothing here"
            assert_agrees(
                lambda feeds: device_search(graph, feeds, wanted),
                lambda feeds: torch_search(module, feeds, wanted),
                feeds,
                TOLERANCE,
            )


@settings(max_examples=20)
@given(
    known=st.integers(1, SLOTS),
    new=st.integers(0, SLOTS),
    count=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    alpha=st.floats(0, 5),
)
def test_input_gradients_agree_with_torch_for_any_number_of_slots_in_use(small_search, known, new, count, seed, alpha):
    made, module, graph, wanted = small_search
    slots_in_use = min(SLOTS, known + new)
    feeds = example(module, made.networks, count, seed) | {
        "known": (torch.arange(SLOTS) < known).float(),
        "active": (torch.arange(SLOTS) < slots_in_use).float(),
        "reference": torch.eye(SLOTS)[(torch.arange(count) + seed) % slots_in_use],
        "alpha": torch.tensor(alpha),
    }
    assert_agrees(
        lambda feeds: device_search(graph, feeds, wanted),
        lambda feeds: torch_search(module, feeds, wanted),
        feeds,
        TOLERANCE,
        floor=1e-3,
    )


def test_one_synthesis_graph_serves_other_solvers_than_those_it_was_exported_with(small_search):
    """The weights come from outside: other ones give another loss, the same ones the same."""
    made, module, graph, wanted = small_search
    kind = "image" if wanted == "input" else "noise"
    content = (made.folder / f"synthesis_{kind}.onnx").read_bytes()
    feeds = example(module, made.networks, 5, 0)
    weights = weights_of(module)
    here = device_search(graph, feeds, wanted)
    swapped = {
        name.replace("pretrained", "?").replace("trained", "pretrained").replace("?", "trained"): value
        for name, value in weights.items()
    }
    assert_close(device_search(Graph(content, weights), feeds, wanted), here, 1e-6)
    assert abs(device_search(Graph(content, swapped), feeds, wanted)["loss"] - here["loss"]) > 1e-2 * here["loss"]


@pytest.mark.parametrize("count", BATCHES)
@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_NAMES)
def test_serving_graphs_with_new_weights_written_in_place_compute_what_torch_computes(exported, shape, count):
    made = exported(shape)
    networks = made.networks
    modules = {
        "solver": graphs.ServingSolver(decisive(redrawn(networks.solver, 1), shape), SLOTS, len(CLASSES)),
        "generator": graphs.ServingGenerator(redrawn(networks.generator, 2)),
        "discriminator": graphs.ServingDiscriminator(redrawn(networks.discriminator, 3)),
    }
    for name, module in modules.items():
        template = (made.folder / f"{name}.onnx").read_bytes()
        graph = Graph(write_weights(template, made.manifest.tensors[name], weights_of(module)))
        feeds = example(module, networks, count, 5)
        exact, exact_feeds = in_float64(module, feeds)
        outputs = exact(**exact_feeds)
        theirs = dict(zip(graph.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))
        assert_close(graph.run(as_numpy(feeds)), as_numpy(theirs), TOLERANCE)


@given(slots_in_use=st.integers(1, SLOTS))
@settings(max_examples=SLOTS)
def test_slots_that_are_not_in_use_have_no_probability(exported, slots_in_use):
    made = exported(SMALL)
    mask = (np.arange(SLOTS) < slots_in_use).astype(np.float32)
    template = (made.folder / "solver.onnx").read_bytes()
    graph = Graph(write_weights(template, made.manifest.tensors["solver"], {"active": mask}))
    images = np.random.default_rng(slots_in_use).normal(size=(16, *SMALL)).astype(np.float32)
    probabilities = graph.run({"input": images})["probabilities"]
    assert not probabilities[:, slots_in_use:].any()
    assert (probabilities[:, :slots_in_use] > 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)

"""The training graphs of a bundle beside torch's autograd, with weights that the exporter never saw."""

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
    assert_agrees,
    assert_close,
    decisive,
    device_gradients,
    example,
    redrawn,
    torch_gradients,
    weights_of,
)

from reverie.device_runtime.bundle.contents import training_graph
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.export.graphs import graphs

TOLERANCE = 1e-4


@pytest.fixture(params=SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def made(request, exported):
    return exported(request.param)


def solver_training(networks):
    return graphs.SolverTraining(decisive(redrawn(networks.solver, 1), networks.input_shape))


def discriminator_training(networks):
    return graphs.DiscriminatorTraining(redrawn(networks.discriminator, 2))


def generator_training(networks):
    solver = decisive(redrawn(networks.solver, 1), networks.input_shape)
    return graphs.GeneratorTraining(redrawn(networks.generator, 3), redrawn(networks.discriminator, 2), solver)


@pytest.fixture(scope="module")
def small_solver(exported):
    """The solver's training graph for small images, and the same in torch."""
    made = exported(SMALL)
    module = solver_training(made.networks)
    return made, module, TrainStep(training_graph(made.folder / "solver_train"), weights_of(module))


def assert_agrees_with_torch(made, name, module):
    weights = weights_of(module)
    step = TrainStep(training_graph(made.folder / f"{name}_train"), weights)
    fed = {n: value for n, value in weights.items() if not n.startswith(f"{name}.")}
    assert step.weights().keys() | fed.keys() == weights.keys()
    for seed, count in enumerate(BATCHES):
        feeds = example(module, made.networks, count, seed)
        assert_agrees(
            lambda feeds: device_gradients(step, feeds, fed),
            lambda feeds: torch_gradients(module, feeds, f"{name}."),
            feeds,
            TOLERANCE,
        )


def test_solver_gradients_agree_with_torch_at_two_batch_sizes(made):
    assert_agrees_with_torch(made, "solver", solver_training(made.networks))


def test_discriminator_gradients_agree_with_torch_at_two_batch_sizes(made):
    assert_agrees_with_torch(made, "discriminator", discriminator_training(made.networks))


def test_generator_gradients_agree_with_torch_at_two_batch_sizes(made):
    assert_agrees_with_torch(made, "generator", generator_training(made.networks))


@settings(max_examples=15)
@given(
    members=st.sets(st.integers(0, SLOTS - 1), min_size=1),
    count=st.integers(1, 9),
    seed=st.integers(0, 10_000),
)
def test_solver_gradients_agree_with_torch_for_any_set_of_active_slots(small_solver, members, count, seed):
    made, module, step = small_solver
    active = torch.zeros(SLOTS)
    active[list(members)] = 1
    feeds = example(module, made.networks, count, seed)
    soft = feeds["target"] * active
    feeds |= {"active": active, "target": soft / soft.sum(dim=1, keepdim=True)}
    scale = float((feeds["weight"] * feeds["temperature"]).sum())
    assert_agrees(
        lambda feeds: device_gradients(step, feeds, {}),
        lambda feeds: torch_gradients(module, feeds, "solver."),
        feeds,
        TOLERANCE,
        floor=0.01 * scale,
    )
    ours = device_gradients(step, feeds, {})
    masked = active.numpy() == 0
    for name in ("solver.classifier.weight", "solver.classifier.bias"):
        assert np.abs(ours[name][masked]).max(initial=0) < 1e-30


@settings(max_examples=10)
@given(count=st.integers(2, 9), left_out=st.integers(0, 8), seed=st.integers(0, 10_000))
def test_an_input_of_weight_zero_changes_no_gradient(small_solver, count, left_out, seed):
    made, module, step = small_solver
    rows = np.delete(np.arange(count), left_out % count)
    feeds = example(module, made.networks, count, seed)
    feeds["weight"][left_out % count] = 0
    without = {name: value if name == "active" else value[rows] for name, value in feeds.items()}
    assert_close(device_gradients(step, feeds, {}), device_gradients(step, without, {}), 1e-5)


@pytest.mark.parametrize("slots_in_use", [len(CLASSES), SLOTS])
def test_the_generator_is_asked_only_for_classes_in_use(exported, slots_in_use):
    made = exported(SMALL)
    module = generator_training(made.networks)
    step = TrainStep(training_graph(made.folder / "generator_train"), weights_of(module))
    fed = weights_of(module, "discriminator.") | weights_of(module, "solver.")
    feeds = example(module, made.networks, 6, 4)
    active = (torch.arange(SLOTS) < slots_in_use).float()
    feeds |= {"active": active, "code": torch.eye(SLOTS)[torch.arange(6) % slots_in_use]}
    assert_agrees(
        lambda feeds: device_gradients(step, feeds, fed),
        lambda feeds: torch_gradients(module, feeds, "generator."),
        feeds,
        TOLERANCE,
    )

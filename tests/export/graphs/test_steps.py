"""Optimizer steps on the device's engine beside torch.optim.AdamW."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from workstation_support import (
    SMALL,
    TINY,
    as_numpy,
    assert_close,
    decisive,
    device_gradients,
    example,
    redrawn,
    weights_of,
)

from reverie.device_runtime.bundle.contents import training_graph
from reverie.device_runtime.bundle.manifest import BETAS
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.export.graphs import graphs

STEPS = 20
BATCH = 8

each_shape = pytest.mark.parametrize("shape", [TINY, SMALL], ids=["1x8x8", "1x14x14"])
each_network = pytest.mark.parametrize("name", ["solver", "discriminator", "generator"])


@pytest.fixture
def training(exported, shape, name):
    """A bundle, the module of one of its training graphs with fresh weights, and torch's AdamW for it.

    The module is in double precision, so that only the device's rounding is in what is compared.
    """
    made = exported(shape)
    networks = made.networks
    solver = decisive(redrawn(networks.solver, 1), shape)
    discriminator, generator = redrawn(networks.discriminator, 2), redrawn(networks.generator, 3)
    module = {
        "solver": lambda: graphs.SolverTraining(solver),
        "discriminator": lambda: graphs.DiscriminatorTraining(discriminator),
        "generator": lambda: graphs.GeneratorTraining(generator, discriminator, solver),
    }[name]().double()
    trained = [p for n, p in module.named_parameters() if n.startswith(f"{name}.")]
    betas = BETAS[name]
    return made, module, torch.optim.AdamW(trained, lr=1.0, betas=betas, eps=1e-8, weight_decay=0)


def batch(module, networks, at):
    """Inputs of step `at`, weighted as the device weights them: about one over their number."""
    feeds = example(module, networks, BATCH + at % 3, at)
    return {n: value / 100 if n.endswith("weight") else value for n, value in feeds.items()}


def rate(at):
    return 1e-3 * (1 - at / (2 * STEPS))


def start_on_device(made, name, module):
    weights = {n: value.astype(np.float32) for n, value in weights_of(module).items()}
    fed = {n: value for n, value in weights.items() if not n.startswith(f"{name}.")}
    folder = made.folder / f"{name}_train"
    return folder, TrainStep(training_graph(folder), weights, betas=BETAS[name]), fed


@each_shape
@each_network
def test_twenty_steps_end_in_the_weights_of_torchs_adamw_on_the_same_batches(training, name):
    """On one of three sequences of batches: near a kink of ReLU, rounding alone decides between two slopes."""
    _, module, optimizer = training
    start, fresh = weights_of(module), copy.deepcopy(optimizer.state_dict())
    for first in (0, 100, 200):
        module.load_state_dict({n: torch.from_numpy(value) for n, value in start.items()}, strict=False)
        optimizer.load_state_dict(copy.deepcopy(fresh))
        ours, end = twenty_steps(training, name, first)
        if first == 200 or largest_difference(ours, end) <= 1e-3:
            break
    assert_close(ours, end, 1e-3)
    moved = {n: float(np.abs(end[n] - start[n]).max()) for n in end}
    assert min(moved.values()) > 3e-4, moved


def twenty_steps(training, name, first):
    """Weights after them on the device and in torch."""
    made, module, optimizer = training
    _, step, fed = start_on_device(made, name, module)
    for at in range(STEPS):
        feeds = batch(module, made.networks, first + at)
        ours = step.step(as_numpy(feeds) | fed, rate(at))
        outputs = module(**{n: value.double() for n, value in feeds.items()})
        loss = outputs[0] if isinstance(outputs, tuple) else outputs
        assert float(ours["loss"]) == pytest.approx(loss.item(), rel=1e-3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate(at)
        optimizer.step()
    return step.weights(), weights_of(module, f"{name}.")


def largest_difference(some, others):
    return max(float(np.abs(some[n] - others[n]).max() / np.abs(others[n]).max()) for n in some)


@each_shape
@each_network
def test_the_devices_optimizer_makes_of_its_gradients_what_torchs_adamw_makes_of_them(training, name):
    """Also where gradients are as small as epsilon: the losses are a millionth of what they are above."""
    made, module, optimizer = training
    folder, step, fed = start_on_device(made, name, module)
    parameters = {n: p for n, p in module.named_parameters() if n.startswith(f"{name}.")}
    for at in range(STEPS):
        feeds = batch(module, made.networks, at)
        feeds |= {n: value * 1e-6 for n, value in feeds.items() if n.endswith("weight")}
        gradients = device_gradients(TrainStep(training_graph(folder), step.weights()), feeds, fed)
        for n, parameter in parameters.items():
            parameter.grad = torch.from_numpy(gradients[n]).double()
        optimizer.param_groups[0]["lr"] = rate(at)
        optimizer.step()
        step.step(as_numpy(feeds) | fed, rate(at))
        assert_close(step.weights(), weights_of(module, f"{name}."), 1e-5)


@each_shape
@each_network
def test_steps_with_learning_rate_zero_change_nothing(training, name, same):
    made, module, _ = training
    _, step, fed = start_on_device(made, name, module)
    before = step.weights()
    for at in range(3):
        step.step(as_numpy(batch(module, made.networks, at)) | fed, 0.0)
    assert same(step.weights(), before)

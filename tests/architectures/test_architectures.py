"""Architectures that people bring train on the device as in torch: twenty steps on the same batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures import GENERATORS, SHAPE, SOLVERS
from torch import nn
from workstation_support import CLASSES, SLOTS, as_numpy, example, weights_of

from reverie.device_runtime.bundle.contents import training_graph
from reverie.device_runtime.bundle.manifest import BETAS
from reverie.device_runtime.bundle.onnx_check import check_model
from reverie.device_runtime.bundle.onnx_operators import PORTABLE
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.export.graphs import artifacts, graphs, onnx_export
from reverie.export.lowering import operators
from reverie.export.networks import Networks
from reverie.export.pretraining.networks import ReferenceDiscriminator, ReferenceGenerator, ReferenceSolver

STEPS, BATCH, RATE = 20, 6, 1e-3
CONSTANT = {"active", "known"}


def trained(network, *inputs):
    """`network` with the batch statistics that training would have left, in evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    network.train()
    with torch.no_grad():
        network(*inputs)
    return network.eval()


def networks_with(architecture):
    """The reference networks with one of them replaced by `architecture`."""
    torch.manual_seed(1)
    solver, discriminator = ReferenceSolver(SHAPE, SLOTS), ReferenceDiscriminator(SHAPE, SLOTS)
    generator = ReferenceGenerator(SHAPE, SLOTS)
    if architecture in GENERATORS:
        noise = torch.randn(32, 8), torch.eye(SLOTS)[torch.arange(32) % SLOTS]
        generator = trained(architecture(SLOTS), *noise)
    else:
        solver = trained(architecture(SLOTS), torch.randn(32, *SHAPE))
    how = Preprocessing(*SHAPE[1:], "rgb")
    return Networks(solver, generator, discriminator.eval(), "own", CLASSES, SLOTS, SHAPE, how)


def largest_difference(some, others):
    """Of all tensors, relative to the largest value of each."""
    return max(float(np.abs(some[n] - others[n]).max() / np.abs(others[n]).max()) for n in others)


@pytest.mark.parametrize("architecture", [*SOLVERS, *GENERATORS], ids=lambda build: build.__name__)
def test_twenty_steps_on_the_device_end_in_torchs_weights(architecture, tmp_path):
    networks = networks_with(architecture)
    if architecture in GENERATORS:
        name = "generator"
        module = graphs.GeneratorTraining(networks.generator, networks.discriminator, networks.solver)
    else:
        name = "solver"
        module = graphs.SolverTraining(networks.solver)
    model = onnx_export.to_onnx(
        module,
        example(module, networks, 2, 0),
        ("loss", "more"),
        tuple(CONSTANT & example(module, networks, 2, 0).keys()),
    )
    weights = weights_of(module)
    own = [n for n in weights if n.startswith(f"{name}.")]
    operators.make_trainable(model, set(own))
    fed = {n: value for n, value in weights.items() if n not in own}
    onnx_export.weights_to_inputs(model, fed)
    folder = tmp_path / f"{name}_train"
    artifacts.prepare(model, own)
    artifacts.write_training(model, own, folder)
    for form in folder.iterdir():  # whichever engine runs them here
        check_model(form.read_bytes(), form.name, operators=PORTABLE)

    module = module.double().eval()
    start = {n: p.detach().clone() for n, p in module.named_parameters()}

    def twenty_steps(first_batch):
        """Weights after twenty steps on the device, and in torch."""
        step = TrainStep(training_graph(folder), as_numpy(start), betas=BETAS[name])
        module.load_state_dict(start, strict=False)
        parameters = [p for n, p in module.named_parameters() if n in own]
        optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=BETAS[name], eps=1e-8, weight_decay=0)
        for at in range(STEPS):
            feeds = example(module, networks, BATCH, first_batch + at)
            feeds |= {n: value / BATCH for n, value in feeds.items() if n.endswith("weight")}
            step.step(as_numpy(feeds) | fed, RATE)
            loss, _ = module(**{n: value.double() for n, value in feeds.items()})
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return step.weights(), weights_of(module, f"{name}.")

    # An input right at a kink of ReLU or pooling, where rounding decides between two slopes, sets the two apart.
    runs = (twenty_steps(first_batch) for first_batch in (0, 100, 200))
    ours, theirs = next((pair for pair in runs if largest_difference(*pair) < 1e-3), (None, None))
    assert theirs is not None, "no run ends in torch's weights"
    moved = {n: float(np.abs(theirs[n] - weights[n]).max()) for n in own}
    assert ours.keys() == theirs.keys()
    assert min(moved.values()) > RATE / 10, moved

"""The device's engine in torch: the same steps and graphs from the same modules, to measure speed and memory beside it.

A practitioner would run the method so: eager torch, or `torch.compile`, on the same processor.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from reverie.device_runtime.bundle.manifest import BETAS, GRADIENT, MODELS, Weights, as_injected
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.method.models import Models
from reverie.export.graphs import graphs
from reverie.export.networks import Networks

TRAINING: dict[str, tuple[Callable[[Networks], nn.Module], tuple[str, ...]]] = {
    "solver": (lambda n: graphs.SolverTraining(n.solver), ("loss", "logits")),
    "discriminator": (lambda n: graphs.DiscriminatorTraining(n.pair[1]), ("loss",)),
    "generator": (
        lambda n: graphs.GeneratorTraining(*n.pair, n.solver),
        ("loss", "generated"),
    ),
}
"""Name of a network → the module that holds its loss, and the outputs of that."""


def parameters_set(module: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Copy `weights` into the parameters and buffers of `module` that they name."""
    values = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.no_grad():
        for name, value in weights.items():
            if name in values:
                values[name].copy_(torch.from_numpy(np.array(value)))


def inputs_of(module: nn.Module) -> tuple[str, ...]:
    """Names of what `module.forward` takes."""
    return tuple(inspect.signature(module.forward).parameters)


class TorchStep:
    """As `engine.TrainStep`: optimizer steps on one network; what is fed by name besides the inputs is weights."""

    def __init__(self, networks: Networks, name: str, weights: Weights, compiled: bool = False) -> None:
        make, self._outputs = TRAINING[name]
        self._module = make(networks).eval()
        parameters_set(self._module, weights)
        self._trained = {n: p for n, p in self._module.named_parameters() if n.startswith(f"{name}.")}
        for parameter in self._module.parameters():
            parameter.requires_grad_(False)
        for parameter in self._trained.values():
            parameter.requires_grad_(True)
        self._optimizer = torch.optim.AdamW(self._trained.values(), betas=BETAS[name], weight_decay=0.0)
        self._run = torch.compile(self._module) if compiled else self._module
        self._inputs = inputs_of(self._module)

    def step(self, feeds: Mapping[str, np.ndarray], learning_rate: float) -> dict[str, np.ndarray]:
        """One forward, backward and optimizer step."""
        parameters_set(self._module, {name: value for name, value in feeds.items() if name not in self._inputs})
        values = self._run(*(torch.from_numpy(np.asarray(feeds[name])) for name in self._inputs))
        values = values if isinstance(values, tuple) else (values,)
        self._optimizer.zero_grad()
        values[0].backward()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        return {name: value.detach().numpy() for name, value in zip(self._outputs, values, strict=True)}

    def weights(self) -> Weights:
        """Copies of all trained parameters."""
        return {name: value.detach().numpy().copy() for name, value in self._trained.items()}


class TorchGraph:
    """As `engine.Graph`: runs a module, and where one input is `wanted` also computes its gradient."""

    def __init__(self, module: nn.Module, outputs: tuple[str, ...], wanted: str = "", compiled: bool = False) -> None:
        self._module = module.eval().requires_grad_(False)
        self._run = torch.compile(self._module) if compiled else self._module
        self.inputs = inputs_of(module)
        self.outputs = outputs
        self._wanted = wanted

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name; entries of `feeds` that the module has no input for are left out."""
        given = {name: torch.from_numpy(np.asarray(feeds[name])) for name in self.inputs}
        if not self._wanted:
            with torch.no_grad():
                return self._named(self._run(*given.values()))
        given[self._wanted] = given[self._wanted].clone().requires_grad_()
        outputs = self._run(*given.values())
        (gradient,) = torch.autograd.grad(outputs[0], given[self._wanted])
        return self._named(outputs) | {self._wanted + GRADIENT: gradient.numpy()}

    def _named(self, values: Any) -> dict[str, np.ndarray]:
        values = values if isinstance(values, tuple) else (values,)
        return {name: cast("Tensor", v).detach().numpy() for name, v in zip(self.outputs, values, strict=True)}


@dataclass(frozen=True)
class TorchModels(Models):
    """Models whose steps and graphs torch runs, so that the device's own stages can be measured on it."""

    networks: Networks | None = None
    """The modules; their weights are replaced by those of the models."""
    compiled: bool = False

    @cached_property
    def solver_graph(self) -> Graph:
        """As in Models."""
        n, hidden = self._fresh(), self.manifest.hidden
        head = hidden.weight.removeprefix("solver.").removesuffix(".weight") if hidden else None
        outputs = ("logits", "probabilities", *(("hidden",) if head else ()))
        return self._graph(graphs.ServingSolver(n.solver, n.slots, len(self.classes), head), outputs)

    @cached_property
    def generator_graph(self) -> Graph:
        """As in Models."""
        return self._graph(graphs.ServingGenerator(self._fresh().pair[0]), ("generated",))

    def synthesis_graph(self, trained: Weights, search: str) -> Graph:
        """As in Models."""
        first, second = self._fresh(), self._fresh()
        loss = graphs.SynthesisLoss(first.solver, second.solver)
        if search == "image":
            return self._graph(graphs.ImageSynthesis(loss), ("loss", "each"), "input", trained)
        module = graphs.NoiseSynthesis(loss, first.pair[0])
        return self._graph(module, ("loss", "each", "generated"), "noise", trained)

    def train_step(self, name: str) -> TrainStep:
        """As in Models."""
        return cast("TrainStep", TorchStep(self._fresh(), name, getattr(self, name), self.compiled))

    def _fresh(self) -> Networks:
        """Networks that nothing else changes."""
        given = cast("Networks", self.networks)
        return replace(given, **{name: copy.deepcopy(getattr(given, name)) for name in MODELS})

    def _graph(
        self, module: nn.Module, outputs: tuple[str, ...], wanted: str = "", trained: Weights | None = None
    ) -> Graph:
        weights = self.solver | self.generator
        parameters_set(module, as_injected(self.solver, trained, self.generator) if trained is not None else weights)
        return cast("Graph", TorchGraph(module, outputs, wanted, self.compiled))

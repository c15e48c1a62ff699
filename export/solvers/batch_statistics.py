"""Batch normalization that trains with the statistics of each batch, where a provider asks for it.

By default a solver's running statistics stay as they are, and normalization is a fixed scale and shift. On request the
training graph normalizes each batch by its own mean and variance, and returns both; the device lets the running
statistics, which all other graphs use, follow them. Ioffe & Szegedy, "Batch normalization", ICML 2015.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm  # (the only name that all of them share)

from reverie.device_runtime.bundle.manifest import BATCH
from reverie.device_runtime.errors import ExportError
from reverie.export.graphs.graphs import SolverTraining

MOMENTUM = 0.1
"""How far running statistics move to a batch's where a layer does not say, as in torch."""


class BatchStatistics(nn.Module):
    """A batch normalization whose running statistics are parameters, so that the device can replace them.

    `forward`: (N, C, ...) → the same shape; with `of_batch`, by the batch's statistics, which are then in `seen`.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None:
            raise ExportError("--batchnorm train needs running statistics: a layer has track_running_stats=False")
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.momentum = MOMENTUM if norm.momentum is None else float(norm.momentum)
        self.running_mean = nn.Parameter(norm.running_mean.clone(), requires_grad=False)
        self.running_var = nn.Parameter(norm.running_var.clone(), requires_grad=False)
        self.of_batch = False
        self.seen: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Raises ZeroDivisionError for a single value a channel."""
        if not self.of_batch:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        axes = [0, *range(2, x.dim())]
        per_channel = [1, -1] + [1] * (x.dim() - 2)
        mean = x.mean(axes)
        centred = x - mean.reshape(per_channel)
        variance = (centred * centred).mean(axes)
        count = torch.ones_like(x[:, :1]).sum()
        self.seen = (mean, variance * count / (count - 1))
        standard = centred / (variance + self.eps).sqrt().reshape(per_channel)
        if self.weight is not None:
            standard = standard * self.weight.reshape(per_channel) + self.bias.reshape(per_channel)
        return standard


class SolverTrainingOnBatches(SolverTraining):
    """As SolverTraining, normalized by each batch's statistics, with these as further outputs; see `statistics`."""

    def forward(
        self,
        input: Tensor,  # noqa: A002 (the graph's input is named so)
        target: Tensor,
        weight: Tensor,
        temperature: Tensor,
        active: Tensor,
    ) -> tuple[Tensor, ...]:
        layers = [layer for _, layer in _layers(self)]
        for layer in layers:
            layer.of_batch = True
        try:
            loss, logits = super().forward(input, target, weight, temperature, active)
            return (loss, logits, *(value for layer in layers for value in layer.seen or ()))
        finally:
            for layer in layers:
                layer.of_batch, layer.seen = False, None


def train_statistics(solver: nn.Module) -> None:
    """Put BatchStatistics in the place of each batch normalization. Raises ExportError where there is none."""
    found = [(name, layer) for name, layer in solver.named_modules() if isinstance(layer, _BatchNorm)]
    if not found:
        raise ExportError("--batchnorm train: the solver has no batch normalization, leave the option away")
    for name, layer in found:
        parent, _, child = name.rpartition(".")
        setattr(solver.get_submodule(parent), child, BatchStatistics(layer))


def train_traced_statistics(traced: nn.Module, whole: nn.Module) -> None:
    """As `train_statistics`, in what was traced of `whole` and holds its parameters under their names."""
    if not isinstance(traced, fx.GraphModule):
        raise TypeError("only what was traced can be changed")
    found = []
    for node in traced.graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default):
        innermost = max((path for path, _ in node.meta["nn_module_stack"].values()), key=len)
        layer = whole.get_submodule(innermost.partition("@")[0])
        if isinstance(layer, _BatchNorm):
            found.append((node, innermost.partition("@")[0], layer))
    if not found:
        raise ExportError("--batchnorm train: no batch normalization is behind the backbone, leave the option away")
    for node, path, layer in found:
        traced.set_submodule(path, BatchStatistics(layer))
        with traced.graph.inserting_before(node):
            call = traced.graph.call_module(path, (node.args[0],))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.recompile()


def statistics(module: nn.Module) -> dict[str, float]:
    """Names of the running statistics in `module`, each with its momentum, in the order of the outputs."""
    return {
        f"{name}.{kind}": layer.momentum for name, layer in _layers(module) for kind in ("running_mean", "running_var")
    }


def outputs(module: nn.Module) -> tuple[str, ...]:
    """Names of the outputs of SolverTrainingOnBatches."""
    return ("loss", "logits", *(BATCH + name for name in statistics(module)))


def _layers(module: nn.Module) -> Iterator[tuple[str, BatchStatistics]]:
    return ((name, layer) for name, layer in module.named_modules() if isinstance(layer, BatchStatistics))

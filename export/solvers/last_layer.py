"""A solver in pixels that ends in one linear layer, and the statistics of its classes at the input of that layer.

They are kept where the layer is a torch `nn.Linear` with a bias, takes rows (N, H) of at most MOST_FEATURES values, and
gives what the solver gives. Other solvers, those of a file in ONNX format among them, go without.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reverie.device_runtime.bundle.hidden import Hidden
from reverie.device_runtime.bundle.manifest import MOST_FEATURES
from reverie.device_runtime.bundle.statistics import ClassStatistics
from reverie.device_runtime.method.closed_form import slope_of
from reverie.export.graphs.entering import entering

EPSILON = 0.1
"""By which the covariance is shrunk: on Fashion-MNIST 0.3 did the same."""


class LastLayer(NamedTuple):
    """The layer by its path in the solver, and the statistics of all class slots as the manifest describes them."""

    path: str
    statistics: ClassStatistics
    described: Hidden


def last_layer(solver: nn.Module, input_shape: tuple[int, ...]) -> str | None:
    """The path of such a layer in `solver`, for inputs of `input_shape`; None where there is none."""
    layers = {path: module for path, module in solver.named_modules() if type(module) is nn.Linear}
    calls: list[tuple[str, Tensor, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda _layer, inputs, output, path=path: calls.append((path, inputs[0], output)))
        for path, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            result = solver.eval()(torch.zeros(2, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    if not calls or calls[-1][2] is not result:
        return None
    path, entered, _ = calls[-1]
    once = sum(called == path for called, _, _ in calls) == 1
    fits = entered.dim() == 2 and entered.shape[1] <= MOST_FEATURES and layers[path].bias is not None
    return path if once and fits else None


def entered(solver: nn.Module, path: str, inputs: Tensor) -> Tensor:
    """What enters the layer at `path` of `solver` (N, H) for `inputs` (N, *S)."""
    with torch.no_grad(), entering(solver.get_submodule(path)) as seen:
        solver.eval()(inputs)
    return seen[0]


def with_statistics(solver: nn.Module, path: str, statistics: ClassStatistics) -> LastLayer:
    """The layer at `path` of `solver`, with `statistics` of all its slots. Raises BundleError as `slope_of` does."""
    layer = solver.get_submodule(path)
    weight, bias = (getattr(layer, name).detach().double().numpy() for name in ("weight", "bias"))
    slope = slope_of(statistics, EPSILON, weight, bias)
    size = statistics.means.shape[1]
    return LastLayer(path, statistics, Hidden(size, f"solver.{path}.weight", f"solver.{path}.bias", EPSILON, slope))

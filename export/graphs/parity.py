"""Every artifact beside torch: same inputs, same weights, loss or outputs and each gradient compared.

A gradient that differs is compared again on other inputs: right at a kink of ReLU or max pooling, rounding alone
decides between two slopes. A graph that is wrong differs on all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reverie.device_runtime.bundle.manifest import BATCH, GRADIENT, Weights
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.errors import EngineError, ExportError, ReverieError, TrainingError, first_line

TOLERANCE = 1e-4
"""Largest difference allowed, relative to the largest magnitude in the layer compared."""

BATCHES = (2, 5)
"""Batch sizes at which artifacts are compared."""

DRAWS = 3
"""How many random inputs a graph may differ on before it is refused."""


@dataclass(frozen=True)
class Difference:
    """Largest relative difference seen and where."""

    relative: float
    at: str


Inputs = Mapping[str, Tensor]
Compare = Callable[[Inputs], Difference]
"""How an artifact differs from torch on some inputs."""


def worst(differences: Iterable[Difference]) -> Difference:
    """The largest one."""
    return max(differences, key=_relative)


def _relative(difference: Difference) -> float:
    return difference.relative


def figures(difference: Difference, batches: Sequence[int]) -> dict[str, Any]:
    """As it stands in the manifest."""
    return asdict(difference) | {"batches": list(batches), "tolerance": TOLERANCE}


def compare(ours: Mapping[str, np.ndarray], theirs: Mapping[str, Tensor]) -> Difference:
    """The worst of all tensors in `theirs`: max |ours - theirs| over the largest magnitude in the tensor's layer.

    The layer, and not the tensor alone, because the gradient of a bias is a sum in which most terms may cancel, so
    that its own magnitude says little about the rounding in it. A value that is no number differs infinitely.
    """
    expected = {name: value.detach().numpy() for name, value in theirs.items()}
    scales: dict[str, float] = {}
    for name, value in expected.items():
        scales[_layer(name)] = max(scales.get(_layer(name), 0.0), float(np.abs(value).max(initial=0.0)))
    floor = 1e-6 * max(scales.values())
    differences = {}
    for name, value in expected.items():
        same_shape = ours[name].shape == value.shape
        largest = float(np.abs(ours[name] - value).max(initial=0.0)) if same_shape else np.inf
        relative = largest / max(scales[_layer(name)], floor, 1e-12)
        differences[name] = relative if np.isfinite(relative) else float("inf")
    at = max(differences, key=lambda name: differences[name])
    return Difference(differences[at], at)


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name


def training_difference(
    step: TrainStep, module: nn.Module, example: Mapping[str, Tensor], trained: Collection[str], fed: Weights
) -> Difference:
    """Loss, the batch's statistics, and the gradient of each parameter in `trained`, on the inputs `example`."""
    outputs, gradients = step.gradients({name: value.numpy() for name, value in example.items()} | fed)
    seen = {name: value for name, value in outputs.items() if name.startswith(BATCH)}
    ours = gradients | {"loss": outputs["loss"]} | seen
    module.zero_grad()
    theirs = module(**example)
    expected = theirs[0] if isinstance(theirs, tuple) else theirs
    expected.backward()
    expected_gradients = {
        name: parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        for name, parameter in module.named_parameters()
        if name in trained
    }
    statistics = dict(zip(seen, theirs[2:], strict=True)) if seen else {}
    return compare(ours, expected_gradients | {"loss": expected} | statistics)


def input_gradient_difference(
    graph: Graph, module: nn.Module, example: Mapping[str, Tensor], wanted: str
) -> Difference:
    """Loss and its gradient for the input `wanted`."""
    ours = graph.run({name: value.numpy() for name, value in example.items()})
    source = example[wanted].clone().requires_grad_()
    loss = module(**{**example, wanted: source})[0]
    loss.backward()
    gradient = source.grad if source.grad is not None else torch.zeros_like(source)
    return compare(ours, {"loss": loss, wanted + GRADIENT: gradient})


def output_difference(graph: Graph, module: nn.Module, example: Mapping[str, Tensor]) -> Difference:
    """Every output of an inference graph."""
    ours = graph.run({name: value.numpy() for name, value in example.items()})
    with torch.no_grad():
        outputs = module(**example)
    return compare(ours, dict(zip(graph.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True)))


def require(difference: Difference, artifact: str, reference: str = "torch computes") -> None:
    """Raise ExportError if `difference` is beyond TOLERANCE."""
    if not difference.relative <= TOLERANCE:
        raise ExportError(
            f"{artifact} does not compute what {reference}: {difference.at} differs by {difference.relative:.1e} "
            f"(at most {TOLERANCE:.0e} is allowed); the bundle is not written"
        )


def require_same(artifact: str, compare: Compare, draw: Callable[[int], Inputs]) -> Difference:
    """The worst difference at both batch sizes, on inputs that `draw` makes for a batch of so many.

    Raises ExportError if it is beyond TOLERANCE or a batch cannot be computed.
    """
    try:
        seen = worst(min(_differences(compare, draw, count), key=_relative) for count in BATCHES)
    except Exception as error:
        if isinstance(error, ReverieError) and not isinstance(error, EngineError):
            raise
        raise ExportError(
            f"{artifact} does not run with batches of {' and '.join(map(str, BATCHES))} ({first_line(error)}): "
            "forward must accept any batch size"
        ) from error
    require(seen, artifact)
    return seen


def is_same_in_parts(compare: Compare, draw: Callable[[int], Inputs]) -> bool:
    """Whether a batch may be computed in chunks, as what `compare` runs does it."""
    try:
        return min(_differences(compare, draw, max(BATCHES)), key=_relative).relative <= TOLERANCE
    except (TrainingError, EngineError):  # of a chunk of one row, such as its standard deviation
        return False


def _differences(compare: Compare, draw: Callable[[int], Inputs], count: int) -> Iterator[Difference]:
    """The difference on random inputs, and on more while it is beyond the tolerance, DRAWS times at most."""
    for _ in range(DRAWS):
        seen = compare(draw(count))
        yield seen
        if seen.relative <= TOLERANCE:
            return

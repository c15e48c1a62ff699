"""Values of an ONNX graph that is evaluated in torch, and what its functions are given besides them.

A value is a tensor, or a numpy array where it is known when the graph is read or made of sizes. Such an array may hold
the batch size as a symbol, so that a shape that a graph computes stays right for any batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Value: TypeAlias = Tensor | np.ndarray


@dataclass(frozen=True)
class Call:
    """A node's operator, attributes, number of outputs, and the batch size where its graph has a fixed one."""

    op: str
    attributes: dict[str, Any]
    outputs: int = 1
    batch: int | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """Value of an attribute."""
        return self.attributes.get(name, default)


Function: TypeAlias = Callable[..., Any]
"""(call, *inputs) → output, or a tuple of outputs; an input that is left out is None."""


def operand(value: Value) -> Any:
    """`value` for an operation with a tensor: a tensor or, of a single number, the number."""
    if isinstance(value, Tensor):
        return value
    return value.item() if value.size == 1 and value.ndim == 0 else to_tensor(value)


def to_tensor(value: Value) -> Tensor:
    """`value` as a tensor; sizes become int64. Raises ValueError where one of them is the batch size."""
    if isinstance(value, Tensor):
        return value
    if value.dtype == object:
        if not all(isinstance(number, int | np.integer) for number in value.flat):
            raise ValueError("it computes with the batch size")
        value = value.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(value))


def numbers(value: Value | None) -> list[Any]:
    """Sizes, axes or bounds. Raises TypeError where they are computed from the values in the input."""
    if value is None:
        return []
    if isinstance(value, Tensor):
        raise TypeError("a size or place in it depends on the values in its input")
    return [int(n) if isinstance(n, np.integer | float | np.floating) else n for n in np.ravel(value)]


def number(value: Value | None, default: float) -> float:
    """A single number. Raises TypeError where it is computed from the values in the input."""
    if isinstance(value, Tensor):
        raise TypeError("a bound in it depends on the values in its input")
    return default if value is None or value.size == 0 else float(value.item())


def axes_of(call: Call, value: Value | None, rank: int) -> list[int]:
    """Axes given as an input or, before opset 18, as an attribute; all where neither is."""
    given = numbers(value) if value is not None else list(call.get("axes", []))
    if not given and call.get("noop_with_empty_axes", 0):
        return []
    return sorted(axis % rank for axis in given) or list(range(rank))

"""What enters a layer of a network while that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def entering(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Fills a list with the first input of each call of `layer`, in a graph that is traced too."""
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()

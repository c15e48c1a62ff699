"""Random values for the inputs of every graph, which it is traced with and then compared on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from reverie.export.graphs.graphs import SYNTHESIS_LOSSES, class_mask

SCALARS = {"alpha": 0.7, "tv": 0.1, "pull": 0.2, "prior": 0.005}
UNBATCHED = frozenset(("known", "active", "choose", *SCALARS))
"""Inputs that are the same for the whole batch."""


@dataclass(frozen=True)
class Examples:
    """Draws inputs of a shape for `slots` classes, of which the first `known` are in use."""

    input_shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    """Of what a backbone takes; without one, the shape of the inputs."""
    noise_size: int
    known: int
    slots: int
    draw: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def of(self, module: nn.Module, count: int) -> dict[str, Tensor]:
        """Values for each input that `module.forward` names, for a batch of `count`."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=self.draw)

        def uniform(length: int) -> Tensor:
            return torch.rand(length, generator=self.draw)

        def one_hot() -> Tensor:
            return torch.eye(self.slots)[torch.randint(self.slots, (count,), generator=self.draw)]

        makers: dict[str, Callable[[], Tensor]] = {
            "input": lambda: normal(count, *self.input_shape),
            "image": lambda: normal(count, *self.image_shape),
            "start": lambda: normal(count, *self.input_shape),
            "anchor": lambda: normal(count, *self.input_shape),
            "noise": lambda: normal(count, self.noise_size),
            "code": one_hot,
            "reference": one_hot,
            "target": lambda: torch.softmax(normal(count, self.slots), dim=1),
            "temperature": lambda: 1 + uniform(count),
            "kind": lambda: torch.arange(count).remainder(2).to(torch.float32),
            "weight": lambda: uniform(count),
            "anchor_weight": lambda: uniform(count),
            "class_weight": lambda: uniform(count),
            "known": lambda: class_mask(self.known, self.slots),
            "active": lambda: torch.ones(self.slots),
            "choose": lambda: uniform(len(SYNTHESIS_LOSSES)),
        }
        return {name: torch.tensor(SCALARS[name]) if name in SCALARS else makers[name]() for name in _inputs(module)}


def unbatched(module: nn.Module) -> tuple[str, ...]:
    """Inputs of `module` that are the same for the whole batch."""
    return tuple(name for name in _inputs(module) if name in UNBATCHED)


def _inputs(module: nn.Module) -> tuple[str, ...]:
    code = module.forward.__code__
    return code.co_varnames[1 : code.co_argcount]

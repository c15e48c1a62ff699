"""How long a network of the workstation trains, and how its learning rate falls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from reverie.device_runtime.method.convergence import Convergence

TOLERANCE = 0.05
"""Converged when the average loss falls by less than this share from one window to the next."""
LEARNT = 0.01
"""A loss below which nothing more is to be learnt, though it falls by shares for ever."""
COOLING = 0.3
"""Share of all steps in which the learning rate falls, after convergence."""

Fall = Callable[[float], float]
"""Share of the fall that is done, in [0, 1] → share of the learning rate that is left of what it falls by."""


def half_cosine(done: float) -> float:
    """Slow at both ends (Loshchilov & Hutter, "SGDR", ICLR 2017)."""
    return (1 + math.cos(math.pi * done)) / 2


def straight(done: float) -> float:
    """Alike in each step."""
    return 1 - done


class Schedule:
    """Counts the steps of `optimizers`, and sets their learning rate after each.

    With a `count` of steps the rate falls from the first to the last, to the share `lowest`. Without, it is constant
    until the loss has converged, by means over `window` steps, and falls in COOLING of all steps then; there are no
    more than `most`.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        count: int | None,
        window: int,
        most: int,
        fall: Fall,
        lowest: float,
    ) -> None:
        self._rates = [(optimizer, optimizer.param_groups[0]["lr"]) for optimizer in optimizers]
        self._convergence = Convergence(window, TOLERANCE)
        self._fall, self._lowest = fall, lowest
        self._taken = 0
        self.end = most if count is None else count
        """Steps in all, as far as is known."""
        self._fall_from = 0 if count is not None else math.floor((1 - COOLING) * most)
        """The step from which the rate falls, as far as is known."""

    def steps(self) -> Iterator[int]:
        """The number of each step, until the end."""
        while self._taken < self.end:
            yield self._taken

    def took(self, loss: float) -> None:
        """Note the loss of a step, and set the learning rate of the next."""
        self._taken += 1
        if self._taken < self._fall_from and self._has_converged(loss):
            self._fall_from = self._taken
            self.end = math.ceil(self._taken / (1 - COOLING))
        done = max(self._taken - self._fall_from, 0) / max(self.end - self._fall_from, 1)
        share = self._lowest + (1 - self._lowest) * self._fall(done)
        for optimizer, rate in self._rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * share

    def _has_converged(self, loss: float) -> bool:
        if self._convergence.reached(loss):
            return True
        window = self._convergence.recent[-self._convergence.window :]
        return len(window) == self._convergence.window and sum(window) < LEARNT * len(window)

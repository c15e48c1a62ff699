"""Solvers that grow along one axis: what `growth.py` measures in both engines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.tools.bench.speed.feeds import training_feeds

LEARNING_RATE = 1e-3


class Place(NamedTuple):
    """A reference solver for grey images, and the batch that it is trained with."""

    along: str
    """What grows: "classes", "side" or "width"."""
    classes: int = 10
    side: int = 28
    width: int = 16
    """Channels of the first convolution."""
    batch: int = 256

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an input."""
        return (1, self.side, self.side)

    @property
    def at(self) -> int:
        """How far it has grown."""
        return int(getattr(self, self.along))

    def feeds(self) -> dict[str, np.ndarray]:
        """What a training step takes."""
        codes = np.eye(self.classes, dtype=np.float32)[np.arange(self.batch) % self.classes]
        return training_feeds(self.shape, codes, np.ones(self.classes, np.float32))


class StepCost(NamedTuple):
    """Median milliseconds of a training step, and the peak resident bytes of a process that takes some."""

    milliseconds: float
    peak_bytes: int

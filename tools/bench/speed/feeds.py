"""What `reverie bench speed` feeds to steps: random inputs, weights that add up to one, codes of classes."""

from __future__ import annotations

import numpy as np


def normal(*shape: int) -> np.ndarray:
    """The same standard normal numbers each time, float32."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def share(count: int) -> np.ndarray:
    """Weights (count,) of a mean, float32."""
    return np.full(count, 1 / count, np.float32)


def training_feeds(shape: tuple[int, ...], codes: np.ndarray, active: np.ndarray) -> dict[str, np.ndarray]:
    """Of a training step of a solver on inputs of `shape`; one-hot `codes` (N, C) are the targets."""
    return {
        "input": normal(len(codes), *shape),
        "target": codes,
        "weight": share(len(codes)),
        "temperature": np.ones(len(codes), np.float32),
        "active": active,
    }

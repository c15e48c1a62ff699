"""AdamW on one vector that holds all trained parameters of a network."""

from __future__ import annotations

import numpy as np

EPSILON = 1e-8


class AdamW:
    """Loshchilov & Hutter, "Decoupled weight decay regularization", 2019, without decay; as torch.optim.AdamW.

    m ← β₁·m + (1 - β₁)·g, v ← β₂·v + (1 - β₂)·g², and with both divided by 1 - βᵗ: x ← x - rate·m / (√v + ε).
    """

    def __init__(self, size: int, betas: tuple[float, float]) -> None:
        self._betas = betas
        self._mean = np.zeros(size, np.float32)
        self._square = np.zeros(size, np.float32)
        self._steps = 0
        self._scratch = np.empty(size, np.float32)

    def step(self, values: np.ndarray, gradient: np.ndarray, learning_rate: float) -> None:
        """Change `values` (size,) in place; `gradient` (size,) is used up."""
        self._steps += 1
        first, second = self._betas
        np.multiply(gradient, np.float32(1 - first), out=self._scratch)
        self._mean *= np.float32(first)
        self._mean += self._scratch
        gradient *= gradient
        gradient *= np.float32(1 - second)
        self._square *= np.float32(second)
        self._square += gradient
        np.multiply(self._square, np.float32(1 / (1 - second**self._steps)), out=self._scratch)
        np.sqrt(self._scratch, out=self._scratch)
        self._scratch += np.float32(EPSILON)
        np.divide(self._mean, self._scratch, out=self._scratch)
        self._scratch *= np.float32(learning_rate / (1 - first**self._steps))
        values -= self._scratch

    def state(self) -> np.ndarray:
        """Moments and number of steps (bytes,) uint8; `restore` continues from it bit for bit."""
        parts = (self._mean, self._square, np.array([self._steps], np.int64))
        return np.concatenate([part.view(np.uint8) for part in parts])

    def restore(self, state: np.ndarray) -> None:
        """Go on from what `state` returned. Raises ValueError where it is of another size."""
        size = self._mean.nbytes
        if state.nbytes != 2 * size + 8:
            raise ValueError("it is of another size")
        self._mean[:] = state[:size].view(np.float32)
        self._square[:] = state[size : 2 * size].view(np.float32)
        self._steps = int(state[2 * size :].view(np.int64)[0])

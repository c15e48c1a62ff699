"""Training images are moved by a little, so that where things lie is not learnt by heart."""

from __future__ import annotations

import numpy as np


def moved(inputs: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Each of the images (N, C, H, W) at another place, up to `share` of its sides away; their edges are continued.

    They move by whole pixels, all distances being as likely.
    """
    most = [round(share * side) for side in inputs.shape[2:]]
    if not any(most):
        return inputs
    down, right = (rng.integers(0, 2 * reach + 1, len(inputs)) for reach in most)
    padded = np.pad(inputs, ((0, 0), (0, 0), (most[0], most[0]), (most[1], most[1])), mode="edge")
    height, width = inputs.shape[2:]
    result = np.empty_like(inputs)
    for y, x in set(zip(down.tolist(), right.tolist(), strict=True)):
        rows = np.flatnonzero((down == y) & (right == x))
        result[rows] = padded[rows, :, y : y + height, x : x + width]
    return result

"""Where a known input lies in the generator's noise: its principal coordinates within its class.

A generator that reproduces inputs from them, and answers fresh noise in their place with inputs between them, can
neither forget a kind of input nor learn noise by heart. Probabilistic PCA: Tipping & Bishop, 1999; a generator
trained on fixed codes: Bojanowski et al., "Optimizing the latent space of generative networks", 2018.
"""

from __future__ import annotations

import numpy as np

AXES_FROM = 1000
"""Inputs of a class from which its axes are computed; all are then projected onto them."""


def principal_coordinates(
    inputs: np.ndarray, labels: np.ndarray, noise_size: int, rng: np.random.Generator
) -> np.ndarray:
    """A noise vector (N, Z) for each of `inputs` (N, *S): its whitened principal coordinates within its class.

    They have mean 0 and variance 1 like fresh noise, and neighbours in them look alike. Where a class has fewer
    inputs, or varies in fewer directions, than Z, the rest is random.
    """
    coordinates = rng.standard_normal((len(labels), noise_size), dtype=np.float32)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        flat = inputs[rows].reshape(len(rows), -1)
        centred = flat - flat.mean(axis=0)
        some = centred if len(rows) <= AXES_FROM else centred[rng.choice(len(rows), AXES_FROM, replace=False)]
        _, scale, axes = np.linalg.svd(some, full_matrices=False)
        used = min(noise_size, int((scale > 1e-4 * max(scale[0], 1e-12)).sum()))
        axes = axes[:used]
        # An axis and its opposite are as good: the one whose largest value is positive is taken, on any machine.
        axes = axes * np.sign(axes[np.arange(used), np.abs(axes).argmax(axis=1)])[:, None]
        projected = centred @ axes.T
        coordinates[rows, :used] = projected / np.sqrt((projected**2).mean(axis=0) + 1e-12)
    return coordinates

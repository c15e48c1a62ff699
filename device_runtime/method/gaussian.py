"""What generates where class statistics are kept: a Gaussian for each class, with its mean and the covariance of all.

In the place of a generator (after Zhang et al., "SLCA: Slow learner with classifier alignment for continual learning
on a pre-trained model", ICCV 2023): noise and the class of a code make features, and what it has learnt of a class is
exact sums, which no later update changes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.statistics import ClassStatistics
from reverie.device_runtime.method.closed_form import covariance
from reverie.device_runtime.method.rows import CHUNK


class Gaussian(NamedTuple):
    """x = μ_c + L·noise, with L·Lᵀ the covariance: all float32."""

    means: np.ndarray
    """Of each class slot (C, D)."""
    factor: np.ndarray
    """L (D, D), lower triangular."""

    def draw(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Features (N, D) of the class slots `labels` (N,), from standard normal `noise` (N, D)."""
        drawn = noise @ self.factor.T
        drawn += self.means[labels]
        return np.asarray(drawn)


def gaussian_of(statistics: ClassStatistics, epsilon: float) -> Gaussian:
    """With a covariance shrunk by `epsilon`, which is above 0 and so leaves one that has a factor."""
    shrunk = covariance(statistics, epsilon, np.float32)
    # What is rounded may be negative in directions that hardly vary.
    shrunk[np.diag_indices(len(shrunk))] += np.finfo(np.float32).eps * max(np.trace(shrunk), np.finfo(np.float32).tiny)
    factorise(shrunk)
    return Gaussian(statistics.means.astype(np.float32), shrunk)


def factorise(matrix: np.ndarray) -> None:
    """Put Cholesky's factor L (D, D) in the place of a covariance, float32, which numpy would make three copies of.

    By blocks of columns: of each, the triangle on the diagonal, what is below it, and what both explain of the rest.
    """
    for at in range(0, len(matrix), CHUNK):
        block, below = slice(at, at + CHUNK), slice(at + CHUNK, None)
        triangle = np.linalg.cholesky(matrix[block, block])
        matrix[block, block], matrix[block, below] = triangle, 0
        matrix[below, block] = matrix[below, block] @ np.linalg.inv(triangle).T
        for rows in range(at + CHUNK, len(matrix), CHUNK):
            part = slice(rows, rows + CHUNK)
            matrix[part, below] -= matrix[part, block] @ matrix[below, block].T

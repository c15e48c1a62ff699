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


class Gaussian(NamedTuple):
    """x = μ_c + L·noise, with L·Lᵀ the covariance: all float32."""

    means: np.ndarray
    """Of each class slot (C, D)."""
    factor: np.ndarray
    """L (D, D), lower triangular."""

    def draw(self, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Features (N, D) of the class slots `labels` (N,), from standard normal `noise` (N, D)."""
        return np.asarray(self.means[labels] + noise @ self.factor.T)


def gaussian_of(statistics: ClassStatistics, epsilon: float) -> Gaussian:
    """With a covariance shrunk by `epsilon`, which is above 0 and so leaves one that has a factor."""
    shrunk = covariance(statistics, epsilon, np.float32)
    # What is rounded may be negative in directions that hardly vary.
    shrunk[np.diag_indices(len(shrunk))] += np.finfo(np.float32).eps * max(np.trace(shrunk), np.finfo(np.float32).tiny)
    return Gaussian(statistics.means.astype(np.float32), np.linalg.cholesky(shrunk))

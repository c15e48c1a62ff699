"""Is an input of a class that is known at all? Told by how it lies to the statistics of the classes.

Five figures of an input tell it together, each of which is best somewhere: its largest logit and by how much that
leads (Hendrycks et al., "Scaling out-of-distribution detection", ICML 2022), the cosine between it and the nearest
class in the subspace of the classes (after Sehwag et al., "SSD", ICLR 2021), its Mahalanobis distance (Lee et al.,
NeurIPS 2018) and the same less the distance to all classes as one (Ren et al., "A simple fix to Mahalanobis distance",
2021). How they count is learnt at export, see `export/pretraining/known.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reverie.device_runtime.bundle.manifest import KnownScore, Statistics
from reverie.device_runtime.bundle.statistics import ClassStatistics
from reverie.device_runtime.method.closed_form import inverse_covariance


@dataclass(frozen=True)
class Novelty:
    """The classes in use C as what an input x of D features is compared with; m is the mean of their means."""

    middle: np.ndarray
    """m (D,)."""
    inverse: np.ndarray
    """Σ⁻¹ (D, D)."""
    directions: np.ndarray
    """Σ⁻¹d_c of each class (C, D), with d_c = μ_c - m."""
    sizes: np.ndarray
    """d_cᵀΣ⁻¹d_c of each class (C,)."""
    values: np.ndarray
    """Eigenvalues (C,) of G, the products d_cᵀΣ⁻¹d_e of all classes."""
    axes: np.ndarray
    """Eigenvectors (C, C) of G, in columns."""

    def terms(self, inputs: np.ndarray) -> np.ndarray:
        """The five figures (N, 5) of `inputs` (N, D), each larger for what is known.

        With y = x - m and h_c = d_cᵀΣ⁻¹y, all but the Mahalanobis distance follow from h: y lies in the subspace of the
        classes by hᵀG⁺h, and by Woodbury's identity its distance to all classes as one is less by hᵀ(C·I + G)⁻¹h.
        """
        apart = inputs - self.middle
        along = apart @ self.directions.T
        logits = along - self.sizes / 2
        lead, nearest = (np.sort(logits, axis=1)[:, -at] for at in (min(2, len(self.sizes)), 1))
        squares = (along @ self.axes) ** 2
        within = squares @ np.where(self.values > 1e-6 * self.values.max(), 1 / np.maximum(self.values, 1e-30), 0)
        cosine = (along / np.sqrt(self.sizes)).max(axis=1) / np.sqrt(np.maximum(within, 1e-30))
        relative = 2 * nearest - squares @ (1 / (len(self.sizes) + self.values))
        distance = ((apart @ self.inverse) * apart).sum(axis=1) - 2 * nearest
        return np.stack([nearest, cosine, relative, nearest - lead, -distance], axis=1)

    def known(self, inputs: np.ndarray, how: KnownScore) -> np.ndarray:
        """How likely each of `inputs` (N, D) is of a class that is known (N,), were as many of them not."""
        return np.asarray(1 / (1 + np.exp(-(self.terms(inputs) @ np.asarray(how.weights) + how.bias))))


def novelty_of(statistics: ClassStatistics, how: Statistics) -> Novelty:
    """Of the classes of `statistics`, at least two. Raises BundleError as `inverse_covariance` does."""
    inverse = inverse_covariance(statistics, how.epsilon)
    means = statistics.means[statistics.used]
    middle = means.mean(axis=0)
    apart = means - middle
    directions = apart @ inverse
    gram = directions @ apart.T
    values, axes = np.linalg.eigh((gram + gram.T) / 2)
    return Novelty(middle, inverse, directions, np.diagonal(gram).copy(), np.maximum(values, 0), axes)

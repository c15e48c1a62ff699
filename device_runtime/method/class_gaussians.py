"""A Gaussian for each class behind a backbone, in the place of a generator: what it draws, and how it learns.

After Zhang et al., "SLCA: Slow learner with classifier alignment for continual learning on a pre-trained model", ICCV
2023. What is learnt of a class stays as it is while others come; its own new inputs are added to it, the mean exactly,
and the variance of each feature exactly. Of the directions of both, the largest are kept (Ross, Lim, Lin & Yang,
"Incremental learning for robust visual tracking", IJCV 2008), and what the others explained goes to the features' own
variances.

A class begins as if PRIOR images before its own had varied as those of the classes that are known do on average, so
that a few frames, which all look alike, do not make a class that is too narrow to be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.gaussians import ClassGaussians
from reverie.device_runtime.bundle.manifest import Manifest
from reverie.device_runtime.method.rows import Chosen, Rows, in_chunks

PRIOR = 10.0
"""Images that the mean covariance of the known classes counts as: measured, see docs/decisions."""


class Powers(NamedTuple):
    """How the inputs of the solver (N, *S) and what the Gaussians are of (N, D) follow from one another."""

    shape: tuple[int, ...]
    """S."""
    mean: np.ndarray
    """Of each channel of the features, as the backbone took it off: (channels, 1, ...), float32."""
    scale: np.float32
    """By which the backbone then divided."""
    power: float

    def of(self, inputs: np.ndarray) -> np.ndarray:
        """sign(f)·|f|^power of the features f that these inputs (N, *S) are, in rows (N, D), float32."""
        features = inputs * self.scale + self.mean
        return np.asarray(np.sign(features) * np.abs(features) ** np.float32(self.power)).reshape(len(inputs), -1)

    def back(self, rows: np.ndarray) -> np.ndarray:
        """The inputs (N, *S) of which `of` makes these rows (N, D)."""
        features = (np.sign(rows) * np.abs(rows) ** np.float32(1 / self.power)).reshape(-1, *self.shape)
        return np.asarray((features - self.mean) / self.scale)


def powers_of(manifest: Manifest) -> Powers:
    """Those of a bundle that keeps Gaussians. Raises ValueError for another."""
    if manifest.backbone is None or manifest.gaussians is None:
        raise ValueError("these models keep no Gaussians")
    mean = np.asarray(manifest.backbone.mean or (0.0,), np.float32)
    along = mean.reshape(-1, *[1] * (len(manifest.input_shape) - 1))
    return Powers(manifest.input_shape, along, np.float32(manifest.backbone.scale), manifest.gaussians.power)


class Spread(NamedTuple):
    """A covariance FᵀF + diag(v)."""

    factors: np.ndarray
    """F (R, D)."""
    variances: np.ndarray
    """v (D,)."""


def draw(gaussians: ClassGaussians, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows (N, D) of the class slots `labels` (N,), from standard normal `noise` (N, R + D), float32."""
    drawn = np.empty((len(labels), gaussians.means.shape[1]), np.float32)
    for slot in np.unique(labels):
        rows = np.flatnonzero(labels == slot)
        along, apart = np.split(noise[rows], [gaussians.rank], axis=1)
        apart *= np.sqrt(gaussians.variances[slot])
        drawn[rows] = along @ gaussians.factors[slot] + apart + gaussians.means[slot]
    return drawn


def merged(
    gaussians: ClassGaussians,
    inputs: Rows,
    labels: np.ndarray,
    rows_of: Callable[[np.ndarray], np.ndarray],
) -> ClassGaussians:
    """`gaussians` with `inputs` (N, *S) of the class slots `labels` (N,) too, of which `rows_of` makes rows (n, D).

    A chunk of them is read at a time.
    """
    found = ClassGaussians(*(values.copy() for values in vars(gaussians).values()))
    for slot in np.unique(labels):
        count = int(found.counts[slot])
        spread, freedom = Spread(found.factors[slot], found.variances[slot]), max(count - 1.0, 0.0)
        if not count and len(gaussians.used):
            spread, freedom = mean_spread(gaussians), PRIOR
        for part in in_chunks(Chosen(inputs, np.flatnonzero(labels == slot))):
            rows = rows_of(part)
            both, middle = count + len(rows), rows.mean(axis=0)
            apart = middle - found.means[slot]
            rows = rows - middle
            if count:  # what lies between the two means of a class is scatter about the mean of both
                rows = np.vstack([rows, apart * np.float32(np.sqrt(count * len(part) / both))])
            found.means[slot] += apart * np.float32(len(part) / both)
            before, freedom = freedom, max(freedom + len(part) - (count == 0), 1.0)
            old = np.float32(before / freedom)
            stacked = np.vstack([spread.factors * np.sqrt(old), rows / np.float32(np.sqrt(freedom))])
            spread = largest(stacked, spread.variances * old, gaussians.rank)
            count = both
        spread = largest(spread.factors, spread.variances, kept_of(count), gaussians.rank)
        found.counts[slot], found.factors[slot], found.variances[slot] = count, *spread
    return found


def mean_spread(gaussians: ClassGaussians) -> Spread:
    """The mean covariance of the classes in use, weighted by how many images each has, of as many directions."""
    spread, total = Spread(*(np.zeros_like(values[0]) for values in (gaussians.factors, gaussians.variances))), 0.0
    for slot in gaussians.used:
        total += float(gaussians.counts[slot])
        own = np.float32(gaussians.counts[slot] / total)
        stacked = np.vstack([spread.factors * np.sqrt(1 - own), gaussians.factors[slot] * np.sqrt(own)])
        spread = largest(stacked, spread.variances * (1 - own) + gaussians.variances[slot] * own, gaussians.rank)
    return spread


def kept_of(images: int) -> int:
    """Directions that may be kept of a class of so many images: as many would span them, and tell of single ones."""
    return images // 2


def largest(stacked: np.ndarray, variances: np.ndarray, kept: int, rank: int | None = None) -> Spread:
    """SᵀS + diag(`variances`) for S = `stacked` (K, D), of its directions the `kept` largest, in `rank` rows.

    What the others explained goes to the diagonal.
    """
    _, turn = np.linalg.eigh(stacked @ stacked.T)
    factors = np.zeros((rank or kept, stacked.shape[1]), np.float32)
    found = (turn.T @ stacked)[::-1][: min(kept, len(factors))]
    factors[: len(found)] = found
    left = np.square(stacked).sum(axis=0) - np.square(factors).sum(axis=0)
    return Spread(factors, variances + np.maximum(left, 0))

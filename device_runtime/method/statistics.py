"""What is kept of classes behind a frozen backbone: a mean for each, one scatter for all, and the layer of both.

Linear discriminant analysis (Fisher, 1936; Rao, 1948) on sums: Hayes & Kanan, "Lifelong machine learning with deep
streaming linear discriminant analysis", CVPR Workshops 2020. The order in which images come does not matter but for
rounding, nothing is forgotten, and the statistics of two boxes add up (Chan, Golub & LeVeque, "Algorithms for computing
the sample variance", The American Statistician, 1983).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.rows import CHUNK, Rows

FOLDS = 5
EPSILONS = (0.1, 0.2, 0.3, 0.4, 0.5)
MOST_IMAGES = 2**40
"""Of a class, so that sums of counts stay exact."""


@dataclass(frozen=True)
class ClassStatistics:
    """Of the images of C class slots, D features each.

    A slot without images has count 0 and mean 0.
    """

    counts: np.ndarray
    """Images of each class (C,), int64."""
    means: np.ndarray
    """Of each class (C, D), float64."""
    scatter: np.ndarray
    """Σ (x - μ)(x - μ)ᵀ over all images, about the mean of the class of each (D, D), float64."""

    @property
    def used(self) -> np.ndarray:
        """The slots that have images, rising."""
        return np.flatnonzero(self.counts)

    @property
    def freedom(self) -> int:
        """By which the scatter is divided for a covariance: images less classes."""
        return int(self.counts.sum()) - len(self.used)

    def __add__(self, other: ClassStatistics) -> ClassStatistics:
        """Those of the images of both. Raises BundleError where they are of other slots or features."""
        if self.means.shape != other.means.shape:
            raise BundleError(
                f"statistics of {_shape(self.means)} and of {_shape(other.means)} do not add up: "
                "they must be of the same bundle"
            )
        counts = self.counts + other.counts
        shares = (other.counts / np.maximum(counts, 1))[:, None]
        apart = other.means - self.means
        # What lies between the two means of a class is scatter about the mean of both.
        between = (apart * (self.counts[:, None] * shares)).T @ apart
        return ClassStatistics(counts, self.means + shares * apart, self.scatter + other.scatter + between)

    def without(self, slot: int) -> ClassStatistics:
        """With `slot` unused. All classes share the scatter: the covariance that it gives stays as it is."""
        others = np.arange(len(self.counts)) != slot
        left = ClassStatistics(self.counts * others, self.means * others[:, None], self.scatter)
        return ClassStatistics(left.counts, left.means, self.scatter * (left.freedom / max(self.freedom, 1)))

    def linear_layer(self, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
        """Weight (C, D) and bias (C,) of the most likely class, equal priors; 0 for slots that are not used.

        Σ = (1-ε)·S/(N-C) + ε·(tr S/(N-C)/D)·I, with C the classes in use; w_c = Σ⁻¹μ_c, b_c = -½·μ_cᵀΣ⁻¹μ_c.
        Raises BundleError where Σ has no inverse.
        """
        features = len(self.scatter)
        covariance = self.scatter * ((1 - epsilon) / max(self.freedom, 1))
        covariance[np.diag_indices(features)] += epsilon * np.trace(self.scatter) / max(self.freedom, 1) / features
        if not _regular(covariance):
            raise BundleError(
                f"the covariance of {features} features from {int(self.counts.sum())} images of {len(self.used)} "
                f"classes has no inverse with a shrinkage of {epsilon:g}: take a larger one, or more and other images"
            )
        weight, bias = np.zeros(self.means.shape), np.zeros(len(self.counts))
        means = self.means[self.used]
        weight[self.used] = np.linalg.solve(covariance, means.T).T
        bias[self.used] = -0.5 * (weight[self.used] * means).sum(axis=1)
        return weight, bias

    def require_sound(self, min_images: int = 1) -> None:
        """Raise BundleError where values cannot be those of images, or a class in use has fewer than `min_images`."""
        if not (np.isfinite(self.means).all() and np.isfinite(self.scatter).all()):
            raise BundleError("the statistics of the classes are not all finite numbers: export the bundle again")
        if (np.diagonal(self.scatter) < 0).any():
            raise BundleError("the scatter of the classes has a negative variance: export the bundle again")
        few = [slot for slot in self.used if self.counts[slot] < min_images]
        if few:
            raise BundleError(
                f"the statistics of class slot {few[0]} are of {self.counts[few[0]]} images: {min_images} are needed"
            )

    def to_arrays(self, min_images: int = 1) -> dict[str, np.ndarray]:
        """As plain arrays: counts (C,) int64; means (C, D) and the scatter's upper triangle (D(D+1)/2,) float32.

        Raises BundleError as `require_sound` does.
        """
        self.require_sound(min_images)
        triangle = self.scatter[np.triu_indices(len(self.scatter))]
        return {
            "counts": self.counts.astype(np.int64),
            "means": self.means.astype(np.float32),
            "scatter": triangle.astype(np.float32),
        }


def from_arrays(arrays: Mapping[str, np.ndarray], min_images: int = 1) -> ClassStatistics:
    """What `to_arrays` gave. Raises BundleError where it cannot have been that."""
    missing = [name for name in ("counts", "means", "scatter") if name not in arrays]
    if missing:
        raise BundleError(f"the statistics of the classes lack their {missing[0]}: export the bundle again")
    counts, means, triangle = (np.asarray(arrays[name]) for name in ("counts", "means", "scatter"))
    if any(array.dtype.kind not in "iuf" for array in (counts, means, triangle)):
        raise BundleError("the statistics of the classes are no numbers: export the bundle again")
    features = means.shape[-1] if means.ndim == 2 else 0
    if not features or counts.shape != means.shape[:1] or triangle.shape != (features * (features + 1) // 2,):
        raise BundleError(
            f"counts {counts.shape}, means {means.shape} and scatter {triangle.shape} of the classes do not fit: "
            "export the bundle again"
        )
    # Not a number is neither 0 or more, nor itself rounded.
    if not ((counts >= 0) & (counts <= MOST_IMAGES) & (counts == np.floor(counts))).all():
        raise BundleError("the counts of the classes are no numbers of images: export the bundle again")
    scatter = np.zeros((features, features))
    scatter[np.triu_indices(features)] = triangle
    scatter += np.triu(scatter, 1).T
    found = ClassStatistics(counts.astype(np.int64), means.astype(np.float64), scatter)
    found.require_sound(min_images)
    found.means[found.counts == 0] = 0
    return found


def statistics_of(inputs: Rows, labels: np.ndarray, slots: int) -> ClassStatistics:
    """Of `inputs` (N, D) with the class slots `labels` (N,), of `slots`; goes through them twice, a chunk at a time."""
    features = inputs.shape[1]
    counts = np.bincount(labels, minlength=slots)
    means, scatter = np.zeros((slots, features)), np.zeros((features, features))
    for at in range(0, len(labels), CHUNK):
        order = np.argsort(labels[at : at + CHUNK], kind="stable")
        found, first = np.unique(labels[at : at + CHUNK][order], return_index=True)
        part = np.asarray(inputs[at : at + CHUNK], np.float64)[order]
        means[found] += np.add.reduceat(part, first, axis=0)
    means /= np.maximum(counts, 1)[:, None]
    for at in range(0, len(labels), CHUNK):
        part = np.asarray(inputs[at : at + CHUNK], np.float64) - means[labels[at : at + CHUNK]]
        scatter += part.T @ part
    return ClassStatistics(counts, means, scatter)


def choose_epsilon(
    inputs: np.ndarray, labels: np.ndarray, candidates: Sequence[float] = EPSILONS, seed: int = 0
) -> float:
    """That of `candidates` with which most of `inputs` (N, D) are recognised, a fifth of each class at a time.

    The others are learnt meanwhile. A class that comes later adds to the same sums: it counts as it does here.
    Of equals the first is taken. Raises BundleError as `linear_layer` does.
    """
    fold = np.empty(len(labels), np.int64)
    slots = int(labels.max()) + 1
    for slot in np.unique(labels):
        rows = rng_for(seed, "epsilon", int(slot)).permutation(np.flatnonzero(labels == slot))
        fold[rows] = np.arange(len(rows)) % FOLDS
    parts = [statistics_of(inputs[fold == at], labels[fold == at], slots) for at in range(FOLDS)]
    right = np.zeros(len(candidates), np.int64)
    for at in range(FOLDS):
        first, *others = parts[:at] + parts[at + 1 :]
        learnt = sum(others, start=first)
        for number, epsilon in enumerate(candidates):
            weight, bias = learnt.linear_layer(epsilon)
            seen = recognised(weight, bias, learnt.used, inputs[fold == at])
            right[number] += int((seen == labels[fold == at]).sum())
    return candidates[int(right.argmax())]


def recognised(weight: np.ndarray, bias: np.ndarray, used: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The slot (N,) among `used` with the largest logit of a layer (C, D), (C,), for each of `inputs` (N, D)."""
    return np.asarray(used[(inputs @ weight[used].T + bias[used]).argmax(axis=1)])


def _regular(covariance: np.ndarray) -> bool:
    """Whether a covariance (D, D) has an inverse that is more than rounding."""
    try:
        pivots = np.diagonal(np.linalg.cholesky(covariance)) ** 2
    except np.linalg.LinAlgError:
        return False
    smallest = len(covariance) * np.finfo(np.float64).eps * np.diagonal(covariance).max()
    return bool(pivots.min() > smallest)


def _shape(means: np.ndarray) -> str:
    return f"{means.shape[0]} slots with {means.shape[1]} features"

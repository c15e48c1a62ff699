"""A solver that follows from the statistics of the historical features, and what of it is chosen by cross-validation.

How well it does on images that it has not seen is measured with whole clusters of images held out that look alike, as
photographs of one thing come in bursts: one whose twins were learnt says nothing of another day's.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from reverie.device_runtime.bundle.statistics import LEAST_IMAGES, ClassStatistics
from reverie.device_runtime.errors import ExportError
from reverie.device_runtime.method.closed_form import linear_layer, statistics_of
from reverie.device_runtime.method.randomness import rng_for

FOLDS = 5
ROOT = 0.5
EPSILONS = (0.2, 0.3, 0.5)
"""Of those that do equally well the smallest; bursts call for less, which did worse on other days' images."""
TEMPERATURES = tuple(float(f"{t:.3g}") for t in np.geomspace(0.5, 200, 53))
MOST_NEGATIVE = 0.05
"""Of the squares of all features, the share that is of negative ones where a root is still taken."""


class HeldOut(NamedTuple):
    """What is said of images whose fold was held out."""

    logits: np.ndarray
    """(N, C); minus infinity for a class of which the others have none."""
    labels: np.ndarray
    """(N,)."""

    @property
    def right(self) -> np.ndarray:
        """Whether each image (N,) was recognised, bool."""
        return np.asarray(self.logits.argmax(axis=1) == self.labels)

    def of_each(self) -> tuple[float, ...]:
        """Share of the images of each class that were."""
        return tuple(float(self.right[self.labels == slot].mean()) for slot in np.unique(self.labels))

    @property
    def temperature(self) -> float:
        """That of TEMPERATURES at which the labels are most likely (Guo et al., ICML 2017)."""
        rows = np.arange(len(self.labels))

        def surprise(temperature: float) -> float:
            scaled = self.logits / temperature
            highest = scaled.max(axis=1)
            sums = np.log(np.exp(scaled - highest[:, None]).sum(axis=1)) + highest
            return float((sums - scaled[rows, self.labels]).mean())

        known = np.isfinite(self.logits[rows, self.labels])
        return min(TEMPERATURES, key=surprise) if known.all() else HeldOut(*(v[known] for v in self)).temperature


def power_for(features: np.ndarray) -> float:
    """The power of features (N, D) with which they are most nearly normal: a root, unless many are negative."""
    negative = float(np.square(np.minimum(features, 0), dtype=np.float64).sum())
    return 1.0 if negative > MOST_NEGATIVE * float(np.square(features, dtype=np.float64).sum()) else ROOT


def choose_epsilon(inputs: np.ndarray, labels: np.ndarray) -> float:
    """That of EPSILONS with which most of `inputs` (N, D) are recognised, a fifth of each class held out at a time."""
    fold = np.empty(len(labels), np.int64)
    for slot in np.unique(labels):
        rows = rng_for(0, "epsilon", int(slot)).permutation(np.flatnonzero(labels == slot))
        fold[rows] = np.arange(len(rows)) % FOLDS
    return max(EPSILONS, key=lambda epsilon: int(held_out(inputs, labels, fold, epsilon).right.sum()))


def held_out(inputs: np.ndarray, labels: np.ndarray, fold: np.ndarray, epsilon: float) -> HeldOut:
    """What the layer of all other folds says of `inputs` (N, D), which are in the folds `fold` (N,)."""
    slots = int(labels.max()) + 1
    parts = [statistics_of(inputs[fold == at], labels[fold == at], slots) for at in range(FOLDS)]
    logits = np.full((len(labels), slots), -np.inf)
    for at in range(FOLDS):
        first, *others = parts[:at] + parts[at + 1 :]
        learnt = sum(others, start=first)
        weight, bias = linear_layer(learnt, epsilon)
        rows = np.flatnonzero(fold == at)
        logits[np.ix_(rows, learnt.used)] = inputs[rows] @ weight[learnt.used].T + bias[learnt.used]
    return HeldOut(logits, labels)


def clusters(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The fold (N,) of each image: a cluster of its class, by k-means on its features (N, D)."""
    fold = np.empty(len(labels), np.int64)
    inputs = inputs.astype(np.float32)
    ending = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    cv2.setRNGSeed(0)
    for slot in np.unique(labels):
        rows = np.flatnonzero(labels == slot)
        count = min(FOLDS, len(rows))
        _, cluster, _ = cv2.kmeans(inputs[rows], count, np.empty(0), ending, 2, cv2.KMEANS_PP_CENTERS)
        fold[rows] = (cluster[:, 0] + slot) % FOLDS
    return fold


def historical_statistics(inputs: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> ClassStatistics:
    """Of `inputs` (N, D) as the solver takes them. Raises ExportError where a class has too few."""
    require_enough(labels, classes)
    return statistics_of(inputs, labels, len(classes))


def require_enough(labels: np.ndarray, classes: tuple[str, ...]) -> None:
    """Raise ExportError where one of `classes` has so few images, by their `labels` (N,), that a bundle shows them."""
    for slot, label in enumerate(classes):
        count = int((labels == slot).sum())
        if count < LEAST_IMAGES:
            raise ExportError(
                f"{label} has {count} images: at least {LEAST_IMAGES} are needed, so that what a bundle keeps of a "
                "class shows none of them"
            )

"""The baseline "gaussian": features of known classes are drawn from a Gaussian of each, in the place of a generator's.

After Zhang et al., "SLCA: Slow learner with classifier alignment for continual learning on a pre-trained model", ICCV
2023, which keeps a mean and a covariance a class and trains the head on what they draw. Here the covariance is its 16
largest principal components and the variance of each feature that these leave (factor analysis, as Tipping & Bishop,
1999), and the labels are soft ones of the solver before, at a temperature of 1. The head trains as in the other
baselines: earlier tasks count with the number of their classes, and training ends when the loss has converged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.device_runtime.method.fit import Source, fit, live_source
from reverie.device_runtime.method.models import Models, run_in_chunks, softened
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.randomness import balanced, rng_for
from reverie.device_runtime.method.replay import Examples
from reverie.device_runtime.method.rows import Rows
from reverie.tools.bench.baselines import Task
from reverie.tools.bench.closed_forms import require_features
from reverie.tools.bench.protocols import Samples

GAUSSIAN = "gaussian"
RANK = 16


class Gaussian(NamedTuple):
    """What is kept of a class that came with one task: x = mean + factorsᵀa + spread·b, a and b standard normal."""

    mean: np.ndarray
    """(D,)."""
    factors: np.ndarray
    """(R, D), R at most RANK."""
    spread: np.ndarray
    """(D,)."""

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` features (N, D), float32."""
        shared = rng.standard_normal((count, len(self.factors)), dtype=np.float32) @ self.factors
        own = rng.standard_normal((count, len(self.mean)), dtype=np.float32) * self.spread
        return np.asarray(self.mean + shared + own)


def gaussian_of(features: np.ndarray) -> Gaussian:
    """Of the features (N, D) of one class; of a single image, that image."""
    mean = features.mean(axis=0)
    centred = (features - mean) / np.float32(np.sqrt(max(len(features) - 1, 1)))
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    factors = sizes[:RANK, None] * directions[:RANK]
    left = (centred**2).sum(axis=0) - (factors**2).sum(axis=0)
    return Gaussian(mean, factors, np.sqrt(np.maximum(left, 0)))


class GaussianReplay:
    """One chain of updates, that begins with a Gaussian of each class of `history`."""

    def __init__(self, start: Models, history: Samples) -> None:
        """Raises ReverieError where there are no features to draw."""
        require_features(GAUSSIAN, start)
        self._known: list[Gaussian] = []
        self._classes: set[int] = set()
        self._keep(history.inputs, history.labels)

    def train(self, now: Task, monitor: Monitor) -> Models:
        """The models after an update."""
        live = live_source(now.models, now.live, "live", now.seed, float(len(np.unique(now.live.labels))))
        drawn = Source(lambda step, count: self._draw(now, step, count), float(len(self._classes)))
        with monitor.stage("fine-tune"):
            trained = fit(now.models, [live, drawn], now.models.active, now.schedule, now.seed, monitor)
            self._keep(now.live.inputs, now.live.labels)
        return now.models.with_solver(trained)

    def _keep(self, inputs: Rows, labels: np.ndarray) -> None:
        for slot in np.unique(labels).tolist():
            self._known.append(gaussian_of(inputs[np.flatnonzero(labels == slot)]))
            self._classes.add(slot)

    def _draw(self, now: Task, step: int, count: int) -> Examples:
        """`count` features, as many of each Gaussian, with the labels that the solver before gives them."""
        rng = rng_for(now.seed, "gaussian", step)
        wanted = np.bincount(balanced(count, len(self._known), rng), minlength=len(self._known))
        inputs = np.concatenate([kept.draw(rng, each) for kept, each in zip(self._known, wanted, strict=True)])
        logits = run_in_chunks(now.before.solver_graph, "logits", input=inputs)
        return Examples(inputs, softened(logits, 1.0), np.ones(count, np.float32))

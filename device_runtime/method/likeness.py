"""Could these inputs be images of a class that is known already? Told by their mean, as the statistics see it.

With m the mean of n inputs, μ_k and n_k mean and count of a known class, and τ as in `closed_form.noise_of_one`,

    T = (m - μ_k)ᵀΣ⁻¹(m - μ_k) / (τ·(1/n + 1/n_k))

is how many times as far they lie from the class as the noise of two means explains (Hotelling, "The generalization of
Student's ratio", 1931): 1 for images of the class that are as unlike as those of the history, some more for bursts, and
the more the more inputs there are for those of any other class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.statistics import ClassStatistics
from reverie.device_runtime.method.closed_form import inverse_covariance, noise_of_one
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.rows import Rows, in_chunks

NEAR = 4.0
"""T below which inputs look like a class: of groceries, CIFAR-10 and clothes, 20 images or more of a known class nearly
always lie below it and those of another above (docs/decisions/never-worse.md)."""
LEAST = 10
"""Inputs, below which those of another class may lie as near."""


class Like(NamedTuple):
    """The slot of the known class that inputs look like, and how many `taken` of the inputs the solver takes for it."""

    slot: int
    taken: int


@dataclass(frozen=True)
class Likeness:
    """The known classes of `statistics` as what the mean of some inputs is compared with; Σ⁻¹ (D, D) is `inverse`."""

    statistics: ClassStatistics
    inverse: np.ndarray
    noise: float
    """τ."""

    def apart(self, mean: np.ndarray, count: int, slot: int) -> float:
        """T between the `mean` (D,) of so many inputs and the class in `slot`."""
        across = mean - self.statistics.means[slot]
        noise = self.noise * (1 / count + 1 / self.statistics.counts[slot])
        return float(across @ self.inverse @ across / noise)


def likeness_of(models: Models) -> Likeness | None:
    """By the statistics that `models` keep; None where there are none. Raises BundleError where Σ has no inverse."""
    statistics = models.hidden if models.statistics is None else models.statistics
    kept = models.manifest.hidden if models.statistics is None else models.manifest.statistics
    if statistics is None or kept is None:
        return None
    inverse = inverse_covariance(statistics, kept.epsilon)
    return Likeness(statistics, inverse, noise_of_one(statistics, inverse, kept.epsilon))


def looks_like(models: Models, likeness: Likeness, inputs: Rows) -> Like | None:
    """What `inputs` (N, *S) of one label are mostly taken for and look like, or None."""
    if len(inputs) < LEAST:
        return None
    taken, total = np.zeros(models.manifest.slots, np.int64), np.zeros(len(likeness.inverse))
    for part in in_chunks(inputs):
        said = models.solver_graph.run({"input": part})
        taken += np.bincount(said["logits"].argmax(axis=1), minlength=len(taken))
        total += (said["hidden"] if models.statistics is None else part).sum(axis=0, dtype=np.float64)
    slot = int(taken.argmax())
    mostly = 2 * taken[slot] > len(inputs) and likeness.statistics.counts[slot] > 0
    near = mostly and likeness.apart(total / len(inputs), len(inputs), slot) < NEAR
    return Like(slot, int(taken[slot])) if near else None

"""Stage 2 where the solver is one linear layer behind a backbone: its weights follow from the class statistics.

Linear discriminant analysis (Fisher, 1936; Rao, 1948) on sums: Hayes & Kanan, "Lifelong machine learning with deep
streaming linear discriminant analysis", CVPR Workshops 2020; with means that are pulled together by as much as they are
uncertain, as empirical Bayes does it (Efron & Morris, "Stein's estimation rule and its competitors", JASA 1973).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from reverie.device_runtime.bundle.manifest import Manifest, Statistics, Weights
from reverie.device_runtime.bundle.statistics import ClassStatistics
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method.rows import CHUNK, Rows

ALIKE = 3.0
"""Images of a burst that tell as much as one would: measured on groceries and CIFAR-10, see docs/decisions."""
PIVOTS = 64
"""Rows of a matrix that are eliminated at a time: more need more room, fewer more time."""
SMALLEST = 1e-6
"""By which classes differ at least, where no more than noise is seen."""


def statistics_of(inputs: Rows, labels: np.ndarray, slots: int) -> ClassStatistics:
    """Of `inputs` (N, D) with the class slots `labels` (N,), of `slots`."""
    features = inputs.shape[1]
    none = ClassStatistics(np.zeros(slots, np.int64), np.zeros((slots, features)), np.zeros((features, features)))
    return gathered(none, inputs, labels)


def gathered(statistics: ClassStatistics, inputs: Rows, labels: np.ndarray) -> ClassStatistics:
    """`statistics` with `inputs` (N, D) of the class slots `labels` (N,) too.

    Goes through them twice, a chunk at a time, and makes no second scatter on the way.
    """
    slots, features = statistics.means.shape
    counts = np.bincount(labels, minlength=slots)
    means = np.zeros((slots, features))
    for at in range(0, len(labels), CHUNK):
        order = np.argsort(labels[at : at + CHUNK], kind="stable")
        found, first = np.unique(labels[at : at + CHUNK][order], return_index=True)
        part = np.asarray(inputs[at : at + CHUNK], np.float64)[order]
        means[found] += np.add.reduceat(part, first, axis=0)
    means /= np.maximum(counts, 1)[:, None]
    together = statistics.joined(counts, means)
    for at in range(0, len(labels), CHUNK):
        part = np.asarray(inputs[at : at + CHUNK], np.float64) - means[labels[at : at + CHUNK]]
        for rows in _blocks(features):
            together.scatter[rows] += part[:, rows].T @ part
    return together


def covariance(statistics: ClassStatistics, epsilon: float, dtype: type[np.floating[Any]] = np.float64) -> np.ndarray:
    """Σ = (1-ε)·S/(N-C) + ε·(tr S/(N-C)/D)·I of all classes (D, D), with C the classes in use."""
    features, freedom = len(statistics.scatter), max(statistics.freedom, 1)
    shrunk = statistics.scatter.astype(dtype)
    shrunk *= (1 - epsilon) / freedom
    shrunk[np.diag_indices(features)] += epsilon * np.trace(statistics.scatter) / freedom / features
    return shrunk


def linear_layer(statistics: ClassStatistics, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Weight (C, D) and bias (C,) of the most likely class, equal priors; 0 for slots that are not used.

    With Σ as in `covariance` and μ̃_c as in `pulled_means`: w_c = Σ⁻¹μ̃_c and b_c = -½·μ̃_cᵀΣ⁻¹μ̃_c. Raises BundleError
    where Σ has no inverse.
    """
    inverse = inverse_covariance(statistics, epsilon)
    return _layer_of(statistics, pulled_means(statistics, inverse, epsilon), inverse)


def plain_layer(statistics: ClassStatistics, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """The same with the means as they are. Raises BundleError where Σ has no inverse."""
    return _layer_of(statistics, statistics.means[statistics.used], inverse_covariance(statistics, epsilon))


def _layer_of(statistics: ClassStatistics, means: np.ndarray, inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight (C, D) and bias (C,) from the `means` of the classes in use (C', D) and Σ⁻¹ (D, D)."""
    used = statistics.used
    weight, bias = np.zeros(statistics.means.shape), np.zeros(len(statistics.counts))
    weight[used] = means @ inverse
    bias[used] = -0.5 * (weight[used] * means).sum(axis=1)
    return weight, bias


def slope_of(statistics: ClassStatistics, epsilon: float, weight: np.ndarray, bias: np.ndarray) -> float:
    """The slope s of a layer's logits, W·h + b, on those of `plain_layer`, by least squares over all images.

    `weight` (C, D) and `bias` (C,) are those of all slots. Logits z are centred over the C' classes in use:
    s = Σ z_layer·z_plain / Σ z_plain·z_plain. Both are linear in (h, 1), so that the sum over the images of
    (h, 1)(h, 1)ᵀ, which the statistics hold, is all that it takes; 0 where the means of all classes are one. Raises
    BundleError as `plain_layer` does.
    """
    used = statistics.used
    means = statistics.means[used]
    counts = statistics.counts[used][:, None]
    size = statistics.means.shape[1]
    moments = np.empty((size + 1, size + 1))
    moments[:size, :size] = statistics.scatter + (means * counts).T @ means
    moments[size, :size] = moments[:size, size] = (means * counts).sum(axis=0)
    moments[size, size] = counts.sum()
    layers = ((weight, bias), plain_layer(statistics, epsilon))
    given, plain = (np.column_stack([w[used], b[used]]) for w, b in layers)
    size_of = (plain @ moments * plain).sum()
    given, plain = (rows - rows.mean(axis=0) for rows in (given, plain))
    squares = (plain @ moments * plain).sum()
    # Below that, classes differ by rounding.
    return float((plain @ moments * given).sum() / squares) if squares > 1e-12 * size_of else 0.0


def inverse_covariance(statistics: ClassStatistics, epsilon: float) -> np.ndarray:
    """Σ⁻¹ (D, D). Raises BundleError where there is none that is more than rounding."""
    shrunk = covariance(statistics, epsilon)
    if not invert(shrunk):
        raise BundleError(
            f"the covariance of {len(shrunk)} features from {int(statistics.counts.sum())} images of "
            f"{len(statistics.used)} classes has no inverse with a shrinkage of {epsilon:g}: give more images, and such"
            " that differ"
        )
    return shrunk


def invert(matrix: np.ndarray) -> bool:
    """Put the inverse of a covariance (D, D) in its place; whether it has one that is more than rounding.

    By blocks of Gauss and Jordan, which needs no room for a second matrix, nor pivots where all eigenvalues are
    positive. What is left of a matrix without an inverse means nothing.
    """
    smallest = len(matrix) * np.finfo(np.float64).eps * np.diagonal(matrix).max()
    for block in _blocks(len(matrix), PIVOTS):
        try:
            pivots = np.diagonal(np.linalg.cholesky(matrix[block, block])) ** 2
        except np.linalg.LinAlgError:
            return False
        if not pivots.min() > smallest:
            return False
        pivot = np.linalg.inv(matrix[block, block])
        along, across = pivot @ matrix[block], matrix[:, block].copy()
        for rows in _blocks(len(matrix)):
            matrix[rows] -= across[rows] @ along
        matrix[block] = along
        matrix[:, block] = -across @ pivot
        matrix[block, block] = pivot
    return True


def pulled_means(statistics: ClassStatistics, inverse: np.ndarray, epsilon: float) -> np.ndarray:
    """The means of the classes in use (C', D), each pulled towards the mean m of all by the noise that is in it.

    Of n images, a mean is off by τ/n in the metric of Σ⁻¹, τ = tr(Σ⁻¹·S/(N-C)): a class of few images seems further
    from all others than it is, and would be given less than its own. With d_c = μ_c - m and B the mean of
    d_cᵀΣ⁻¹d_c - τ/n_c, what the classes really differ by: μ̃_c = m + B/(B + a·τ/n_c)·d_c. Images come in bursts, so
    a = ALIKE of them count as one.
    """
    used = statistics.used
    return _pull(statistics, inverse, epsilon).means(statistics.means[used], statistics.counts[used])


class _Pull(NamedTuple):
    """What means are pulled to, and by how much."""

    middle: np.ndarray
    """m (D,)."""
    between: float
    """B."""
    noise: float
    """a·τ."""

    def means(self, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """`means` (K, D) of so many images each (K,), pulled."""
        shares = self.between / (self.between + self.noise / counts)
        return np.asarray(self.middle + (means - self.middle) * shares[:, None])


def _pull(statistics: ClassStatistics, inverse: np.ndarray, epsilon: float) -> _Pull:
    means = statistics.means[statistics.used]
    middle = means.mean(axis=0)
    apart = means - middle
    noise = noise_of_one(statistics, inverse, epsilon)
    differ = (apart @ inverse * apart).sum(axis=1) - noise / statistics.counts[statistics.used]
    return _Pull(middle, max(float(differ.mean()), SMALLEST), ALIKE * noise)


def left_out_logits(statistics: ClassStatistics, epsilon: float, inputs: Rows, labels: np.ndarray) -> np.ndarray:
    """What `linear_layer` would say of each of `inputs` (N, D), of the class slots `labels` (N,), had it not come.

    All of them are in the `statistics`, two at least of each class. Logits (N, C), minus infinity for slots that are
    not used. Without image x of a class of n images, with d = x - μ_c, its mean is μ_c - d/(n-1), the scatter is less
    by n/(n-1)·ddᵀ (Welford, 1962), and Σ⁻¹ follows by the formula of Sherman and Morrison (1950); shrinkage, N-C and
    what means are pulled to are taken to stay, as one image hardly changes them. Raises BundleError as `linear_layer`.
    """
    used = statistics.used
    inverse = inverse_covariance(statistics, epsilon)
    pull = _pull(statistics, inverse, epsilon)
    means = pull.means(statistics.means[used], statistics.counts[used])
    weight = means @ inverse
    logits = np.full((len(labels), len(statistics.counts)), -np.inf)
    for at in range(0, len(labels), CHUNK):
        slots = labels[at : at + CHUNK]
        part, counts = np.asarray(inputs[at : at + CHUNK], np.float64), statistics.counts[slots]
        apart = part - statistics.means[slots]
        turned = apart @ inverse
        share = (1 - epsilon) / max(statistics.freedom, 1) * counts / (counts - 1)
        gain = share / (1 - share * (turned * apart).sum(axis=1))
        along = turned @ means.T
        own = pull.means(statistics.means[slots] - apart / (counts - 1)[:, None], counts - 1)
        logits[at : at + CHUNK, used] = (
            part @ weight.T
            + (gain * (turned * part).sum(axis=1))[:, None] * along
            - ((weight * means).sum(axis=1) + gain[:, None] * along**2) / 2
        )
        own_along = (turned * own).sum(axis=1)
        logits[np.arange(at, at + len(part)), slots] = (own @ inverse * (part - own / 2)).sum(
            axis=1
        ) + gain * own_along * ((turned * part).sum(axis=1) - own_along / 2)
    return logits


def noise_of_one(statistics: ClassStatistics, inverse: np.ndarray, epsilon: float) -> float:
    """τ = tr(Σ⁻¹·S/(N-C)), by how much an image is off the mean of its class in the metric of Σ⁻¹ (D, D)."""
    shrunk_trace = epsilon * np.trace(statistics.scatter) / max(statistics.freedom, 1) / len(inverse)
    return float((len(inverse) - shrunk_trace * np.trace(inverse)) / (1 - epsilon))


def solve(statistics: ClassStatistics, how: Statistics, manifest: Manifest) -> Weights:
    """The weights of the solver of `manifest` that is that layer. Raises BundleError as `linear_layer` does."""
    weight, bias = (values / how.temperature for values in linear_layer(statistics, how.epsilon))
    shaped = {weight.shape: weight, bias.shape: bias}
    names = [name for name in manifest.tensors["solver"] if name != "active"]
    return {name: shaped[manifest.tensors["solver"][name].shape].astype(np.float32) for name in names}


def recognised(weight: np.ndarray, bias: np.ndarray, used: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The slot (N,) among `used` with the largest logit of a layer (C, D), (C,), for each of `inputs` (N, D)."""
    return np.asarray(used[(inputs @ weight[used].T + bias[used]).argmax(axis=1)])


def _blocks(features: int, size: int = CHUNK) -> list[slice]:
    """Of the rows of a matrix, `size` at a time."""
    return [slice(at, at + size) for at in range(0, features, size)]

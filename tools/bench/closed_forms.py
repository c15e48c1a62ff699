"""Baselines in closed form, on features behind a backbone: each keeps sums of earlier tasks, and no image.

    ncm        the nearest class mean (Mensink et al., "Distance-based image classification", TPAMI 2013)
    slda       class means and one covariance, shrunk by 0.1 (Hayes & Kanan, "Lifelong machine learning with deep
               streaming linear discriminant analysis", CVPR Workshops 2020)
    slda-root  the same on square roots of the features as the model makes them, those below 0 as 0, shrunk by 0.3;
               roots as in Hellinger's distance (Arandjelović & Zisserman, "Three things everyone should know to improve
               object retrieval", CVPR 2012)
    ridge      ridge regression to the classes, which count alike whatever their numbers (Hoerl & Kennard,
               Technometrics 1970), λ = 300
    ranpac     5,000 random features, a ReLU, and ridge regression (McDonnell et al., "RanPAC: Random projections and
               pre-trained models for continual learning", NeurIPS 2023), λ chosen by squared error on a fifth of the
               history

All five are a layer on features lifted by a fixed function, computed from class statistics. What is before the first
update is the pretrained solver, as in all forms; the statistics of its history are its bundle's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.statistics import ClassStatistics
from reverie.device_runtime.errors import ReverieError
from reverie.device_runtime.method.closed_form import plain_layer, recognised, statistics_of
from reverie.device_runtime.method.models import Models, one_hot
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.rows import Rows, in_chunks
from reverie.tools.bench.baselines import Task
from reverie.tools.bench.protocols import Samples

RIDGE = 300.0
RANDOM_FEATURES = 5000
STRENGTHS = (1e3, 1e4, 1e5, 1e6, 1e7)
"""λ that RanPAC chooses from."""

Lift = Callable[[np.ndarray], np.ndarray]
"""Features (N, D) → (N, M)."""
Layer = tuple[np.ndarray, np.ndarray]
"""Weight (C, M) and bias (C,)."""
Solve = Callable[[ClassStatistics], Layer]


class ClosedForm:
    """One chain of updates by `form`, that begins with the statistics of `history`."""

    def __init__(self, form: str, start: Models, history: Samples, seed: int) -> None:
        """Raises ReverieError where there are no features to keep sums of."""
        require_features(form, start)
        made = CLOSED_FORMS[form]
        self._lift = made.lift(start, np.asarray(history.inputs), seed)
        self._slots = start.manifest.slots
        self._solve = made.solve or partial(plain_ridge, self._strength(history, seed))
        self._known = self._sums(history.inputs, history.labels)
        self._layer = self._solve(self._known)

    def train(self, now: Task, monitor: Monitor) -> Models:
        """Take the live images into the sums; returns the models with the new classes in use."""
        with monitor.stage("fine-tune"):
            self._known += self._sums(now.live.inputs, now.live.labels)
            self._layer = self._solve(self._known)
        return now.models

    def answer(self, _models: Models, inputs: Rows) -> np.ndarray:
        """Class slot (N,) that is found most likely."""
        used = self._known.used
        return np.concatenate([recognised(*self._layer, used, self._lift(part)) for part in in_chunks(inputs)])

    def _strength(self, history: Samples, seed: int) -> float:
        """That λ of STRENGTHS with which four fifths of the history give the smallest squared error on the last."""
        order = rng_for(seed, "strength").permutation(len(history.labels))
        tested, learnt = (history.take(rows) for rows in np.split(order, [len(order) // 5]))
        sums, lifted = self._sums(*learnt), self._lift(tested.inputs)
        targets = one_hot(tested.labels, self._slots)
        errors = [((lifted @ plain_ridge(each, sums)[0].T - targets) ** 2).mean() for each in STRENGTHS]
        return STRENGTHS[int(np.argmin(errors))]

    def _sums(self, inputs: Rows, labels: np.ndarray) -> ClassStatistics:
        return statistics_of(_Lifted(self._lift, inputs), labels, self._slots)


def require_features(form: str, models: Models) -> None:
    """Raise ReverieError unless the solver is one linear layer on the features of a backbone."""
    slots, shape = models.manifest.slots, models.manifest.input_shape
    layers = {weight.shape for weight in models.solver.values()}
    linear = len(shape) == 1 and (slots, *shape) in layers and layers <= {(slots, *shape), (slots,)}
    if models.manifest.backbone is None or not linear:
        raise ReverieError(
            f"{form} is for one linear layer behind a backbone: give --images with --backbone-until and the solver's "
            "last layer, or leave the form out"
        )


class _Lifted:
    """`inputs` (N, D), lifted as they are asked for."""

    def __init__(self, lift: Lift, inputs: Rows) -> None:
        self._lift = lift
        self._inputs = inputs

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._inputs), *self._lift(self._inputs[:1]).shape[1:])

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, at: slice) -> np.ndarray:
        return self._lift(self._inputs[at])


def plain(start: Models, history: np.ndarray, _seed: int) -> Lift:
    """The features of a power of 1, with a mean of 0 and an average variance of 1 over the history."""
    if start.manifest.backbone is None or start.manifest.backbone.power == 1:
        return lambda features: features
    made = _as_made(start)
    known = made(history)
    mean, scale = known.mean(axis=0), np.sqrt(known.var(axis=0).mean())
    return lambda features: (made(features) - mean) / scale


def root(start: Models, _history: np.ndarray, _seed: int) -> Lift:
    """√max(feature, 0) of the features as the model makes them."""
    made = _as_made(start)
    return lambda features: np.sqrt(np.maximum(made(features), 0))


def random_relu(start: Models, history: np.ndarray, seed: int) -> Lift:
    """max(xᵀR, 0) with R (D, M) of standard normal numbers."""
    shape = (*start.manifest.input_shape, RANDOM_FEATURES)
    projection = rng_for(seed, "random features").standard_normal(shape, dtype=np.float32)
    features_of = plain(start, history, seed)
    return lambda features: np.maximum(features_of(features) @ projection, 0)


def _as_made(start: Models) -> Lift:
    """The features before the backbone took them to a power, centred and scaled them."""
    described = start.manifest.backbone
    if described is None:
        return lambda features: features
    mean, scale = np.asarray(described.mean or 0.0, np.float32), np.float32(described.scale)

    def made(features: np.ndarray) -> np.ndarray:
        of_power = features * scale + mean
        return np.asarray(np.sign(of_power) * np.abs(of_power) ** np.float32(1 / described.power))

    return made


def nearest_mean(known: ClassStatistics) -> Layer:
    """The mean with the smallest |x - μ|², which is the largest xᵀμ - ½|μ|²."""
    return known.means, -0.5 * (known.means**2).sum(axis=1)


def balanced_ridge(strength: float, known: ClassStatistics) -> Layer:
    """Ridge regression to one-hot rows with a free bias, in which every class weighs what N/C images do.

    The scatter within classes is one for all; that between them is of their means, alike.
    """
    weight, bias = np.zeros(known.means.shape), np.zeros(len(known.counts))
    each = known.counts.sum() / len(known.used)
    middle = known.means[known.used].mean(axis=0)
    apart = known.means[known.used] - middle
    gram = known.scatter + each * apart.T @ apart + strength * np.eye(len(middle))
    weight[known.used] = np.linalg.solve(gram, each * apart.T).T
    bias[known.used] = 1 / len(known.used) - weight[known.used] @ middle
    return weight, bias


def plain_ridge(strength: float, known: ClassStatistics) -> Layer:
    """(HᵀH + λI)⁻¹HᵀY without a bias: HᵀH is the scatter and Σ n_c μ_c μ_cᵀ, HᵀY has columns n_c μ_c."""
    sums = known.counts[:, None] * known.means
    gram = known.scatter + sums.T @ known.means
    gram[np.diag_indices(len(gram))] += strength
    return np.linalg.solve(gram, sums.T).T, np.zeros(len(known.counts))


class Made(NamedTuple):
    """A form: how features are lifted, and the layer for statistics of them; None chooses λ of `plain_ridge`."""

    lift: Callable[[Models, np.ndarray, int], Lift]
    solve: Solve | None


CLOSED_FORMS = {
    "ncm": Made(plain, nearest_mean),
    "slda": Made(plain, partial(plain_layer, epsilon=0.1)),
    "slda-root": Made(root, partial(plain_layer, epsilon=0.3)),
    "ridge": Made(plain, partial(balanced_ridge, RIDGE)),
    "ranpac": Made(random_relu, None),
}

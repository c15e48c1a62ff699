"""How figures of an input tell whether its class is known: learnt with classes left out as if they were not."""

from __future__ import annotations

import numpy as np

from reverie.device_runtime.bundle.manifest import KNOWN_TERMS, KnownScore, Statistics
from reverie.device_runtime.method.closed_form import statistics_of
from reverie.device_runtime.method.novelty import novelty_of
from reverie.device_runtime.method.randomness import rng_for
from reverie.export.pretraining.closed_form import FOLDS

LEAST_CLASSES = 4
"""With fewer, none can be left out that others tell of."""
GROUPS = 4
"""Of classes, one of which is left out at a time."""
FALSE_ALARMS = 0.05
"""Share of images of known classes that are taken for unknown ones."""
DECAY = 1.0
"""Weight of the squared weights against as many images: figures that tell the same share what they tell."""


def learn_known_score(inputs: np.ndarray, labels: np.ndarray, fold: np.ndarray, how: Statistics) -> KnownScore | None:
    """By `inputs` (N, D) of the classes `labels` (N,), in the folds `fold` (N,); None where classes are too few.

    Logistic regression of known against unknown, which weigh alike, on images that were held out; the threshold lets
    FALSE_ALARMS of those of known classes fall below it.
    """
    classes = np.unique(labels)
    if len(classes) < LEAST_CLASSES:
        return None
    group = rng_for(0, "known").permutation(len(classes)) % GROUPS
    terms: list[np.ndarray] = []
    known: list[np.ndarray] = []
    for left_out in range(GROUPS):
        is_known = np.isin(labels, classes[group != left_out])
        for at in range(FOLDS):
            learnt = is_known & (fold != at)
            novelty = novelty_of(statistics_of(inputs[learnt], labels[learnt], int(classes.max()) + 1), how)
            terms.append(novelty.terms(inputs[fold == at]))
            known.append(is_known[fold == at])
    weights, bias = logistic_regression(np.concatenate(terms), np.concatenate(known))
    score = KnownScore(weights, bias, 0.0)
    seen = [
        novelty_of(statistics_of(inputs[fold != at], labels[fold != at], int(classes.max()) + 1), how).known(
            inputs[fold == at], score
        )
        for at in range(FOLDS)
    ]
    return KnownScore(weights, bias, float(np.quantile(np.concatenate(seen), FALSE_ALARMS)))


def logistic_regression(terms: np.ndarray, known: np.ndarray) -> tuple[tuple[float, ...], float]:
    """Weights (5) and bias for `terms` (N, 5) and whether each is `known` (N,), both kinds weighing alike.

    By Newton's method.
    """
    middle, scale = terms.mean(axis=0), terms.std(axis=0) + 1e-9
    design = np.column_stack([(terms - middle) / scale, np.ones(len(terms))])
    share = known.mean()
    each = np.where(known, 0.5 / share, 0.5 / (1 - share))
    held = np.array([DECAY] * KNOWN_TERMS + [0.0])
    weights = np.zeros(KNOWN_TERMS + 1)
    for _ in range(30):
        likely = 1 / (1 + np.exp(-design @ weights))
        slope = design.T @ (each * (likely - known)) + held * weights
        curve = (design * (each * likely * (1 - likely))[:, None]).T @ design + np.diag(held + 1e-9)
        weights -= np.linalg.solve(curve, slope)
    plain = weights[:-1] / scale
    return tuple(plain.tolist()), float(weights[-1] - plain @ middle)

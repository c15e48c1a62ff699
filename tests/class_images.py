"""Images of classes as features, of which tests make statistics, and how they spoil the arrays of these."""

from __future__ import annotations

import numpy as np

SLOTS, FEATURES = 5, 3


def images(count, seed, classes=SLOTS, features=FEATURES):
    """Features about a mean of each class, in which the first varies most, and their slots."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    means = np.random.default_rng(0).normal(0, 3, (classes, features))
    spread = np.linspace(2, 0.5, features)
    return (means[labels] + rng.normal(0, spread, (count, features))).astype(np.float32), labels


def put(at, value):
    """What puts `value` into an array."""

    def change(values):
        values[at] = value
        return values

    return change

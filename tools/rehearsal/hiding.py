"""A bundle's models as they would be had the last of its classes not come yet, so that these can be learnt as new.

Where the solver follows from class statistics that is exact but for the covariance, which all classes share. Of a
solver that is trained, the rows of its last layer begin anew; what is before that has seen the classes, so that they
are learnt more easily than truly new ones: what they cost known classes tells, which training suits them does not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reverie.device_runtime.bundle.hidden import Hidden
from reverie.device_runtime.bundle.manifest import Weights
from reverie.device_runtime.method.models import Models

LEAST_LEFT = 2
"""Known classes that must be left."""


def most_hidden(models: Models) -> int:
    """How many classes `without_last` can hide: 0 where nothing says which rows of the solver are theirs."""
    if models.statistics is None and models.manifest.hidden is None:
        return 0
    return max(0, len(models.classes) - LEAST_LEFT)


def without_last(models: Models, count: int, rng: np.random.Generator) -> Models:
    """`models` as if the last `count` of their classes were new. Raises BundleError."""
    if not count:
        return models
    left = len(models.classes) - count
    slots = range(left, len(models.classes))
    fewer = models.with_classes(models.classes[:left])
    if models.statistics is not None:
        statistics = models.statistics
        for slot in slots:
            statistics = statistics.without(slot)
        return replace(fewer, statistics=statistics).solved()
    hidden, kept = models.manifest.hidden, models.hidden
    if hidden is None or kept is None:
        raise ValueError("nothing says which rows of the solver are of which class")
    for slot in slots:
        kept = kept.without(slot)
    return fewer.with_hidden(kept).with_solver(_begun_anew(models.solver, hidden, slots, rng))


def _begun_anew(solver: Weights, hidden: Hidden, slots: range, rng: np.random.Generator) -> Weights:
    """Weight and bias of the last layer with the rows `slots` as a linear layer of torch begins."""
    spread = 1 / np.sqrt(hidden.size)
    begun = {}
    for name in (hidden.weight, hidden.bias):
        rows = solver[name].copy()
        rows[slots] = rng.uniform(-spread, spread, rows[slots].shape)
        begun[name] = rows
    return begun

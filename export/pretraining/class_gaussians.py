"""A Gaussian of the historical features of each class, for a bundle whose solver is trained behind a backbone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from reverie.device_runtime.bundle.gaussians import ClassGaussians, Gaussians, read_gaussians
from reverie.device_runtime.bundle.manifest import GAUSSIANS, MAX_NUMBERS
from reverie.device_runtime.errors import BundleError, ExportError
from reverie.device_runtime.method.class_gaussians import merged
from reverie.export.pretraining.closed_form import require_enough

RANK = 16
"""Directions of a class; fewer where features are many. Measured, see docs/decisions."""
ROOM = 2
"""Class slots for which there is room, for each class that is known."""


def historical_gaussians(features: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> ClassGaussians:
    """Of `features` (N, *S), of a power already, and of the class slots `labels` (N,).

    Raises ExportError where a class has too few, or where features are too many to keep a direction of each class.
    """
    require_enough(labels, classes)
    size = math.prod(features.shape[1:])
    # A mean and the variances beside the directions.
    rank = min(RANK, MAX_NUMBERS // (ROOM * len(classes) * size) - 2)
    if rank < 1:
        raise ExportError(
            f"{size:,} features of {len(classes)} classes are too many to keep a covariance of each: cut the solver "
            "where it has fewer, such as behind its last pooling"
        )
    rows = features.reshape(len(features), size)
    return merged(ClassGaussians.none(len(classes), size, rank), rows, labels, lambda part: part)


def gaussians_beside(weights: Path, described: Gaussians, classes: int, features: int, slots: int) -> ClassGaussians:
    """Those beside the `weights` of a solver for so many `classes`, with `slots` for them. Raises ExportError."""
    if slots * features * (described.rank + 2) > MAX_NUMBERS:
        raise ExportError(
            f"{slots} class slots with {features:,} features each are too many for Gaussians of {described.rank} "
            "directions: take fewer --spare-classes, or cut the solver where it has fewer features"
        )
    path = weights.with_name(GAUSSIANS)
    try:
        found = read_gaussians(path.read_bytes(), classes, features, described.rank, path)
    except (OSError, BundleError) as error:
        raise ExportError(f"{path} cannot be read ({error}): pretrain again") from error
    return found.with_slots(slots)

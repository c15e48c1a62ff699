"""Statistics of the historical images at the input of the solver's last layer, for updates of few frames."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from reverie.device_runtime.bundle.statistics import LEAST_IMAGES, ClassStatistics
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method.closed_form import statistics_of
from reverie.export.pretraining.training import MEASURED
from reverie.export.solvers.last_layer import entered, last_layer, with_statistics

AT_ONCE = 128 * MEASURED
"""Images whose statistics are added at a time."""


def hidden_statistics(solver: nn.Module, inputs: np.ndarray, labels: np.ndarray) -> ClassStatistics | None:
    """Of `inputs` (N, *S) of the classes `labels` (N,), as the trained `solver` sees them.

    None where `last_layer` finds no layer, where a class has so few images that its mean would show them, or where the
    classes do not differ in a way that the layer's logits follow.
    """
    path = last_layer(solver, inputs.shape[1:])
    counts = np.bincount(labels)
    if path is None or counts.min() < LEAST_IMAGES:
        return None
    parts = []
    for at in range(0, len(inputs), AT_ONCE):
        images = torch.from_numpy(inputs[at : at + AT_ONCE]).split(MEASURED)
        seen = torch.cat([entered(solver, path, part) for part in images]).numpy()
        parts.append(statistics_of(seen, labels[at : at + AT_ONCE], len(counts)))
    found = sum(parts[1:], start=parts[0])
    try:
        slope = with_statistics(solver, path, found).described.slope
    except BundleError:
        return None
    return found if 0 < slope < np.inf else None

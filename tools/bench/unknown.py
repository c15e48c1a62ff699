"""How well the pretrained models tell test images of classes that they do not know yet from those that they do."""

from __future__ import annotations

import numpy as np

from reverie.device_runtime.method.models import Models, run_in_chunks
from reverie.device_runtime.method.novelty import novelty_of
from reverie.tools.bench.protocols import Protocol

FALSE_ALARMS = 0.05
THRESHOLD = "known, at its threshold"
"""A row of false alarms in the place of the AUROC."""


def unknown_figures(models: Models, steps: Protocol) -> dict[str, list[float]]:
    """Score → its AUROC and the share found at FALSE_ALARMS; at the bundle's own threshold, false alarms and found.

    Empty where the bundle has no score, or no class comes that is new.
    """
    kept = models.manifest.statistics
    new = [test.inputs[~np.isin(test.labels, steps.tests[0].labels)] for test in steps.tests[1:]]
    if models.statistics is None or kept is None or kept.known is None or not sum(map(len, new)):
        return {}
    known, unknown = steps.tests[0].inputs, np.concatenate(new)
    novelty = novelty_of(models.statistics, kept)
    told = [novelty.known(inputs, kept.known) for inputs in (known, unknown)]
    scores = {"known": told}
    for name in ("probabilities", "logits"):
        scores[f"largest of {name}"] = [
            run_in_chunks(models.solver_graph, name, input=inputs).max(axis=1) for inputs in (known, unknown)
        ]
    figures = {name: [auroc(*of), found(*of)] for name, of in scores.items()}
    return figures | {THRESHOLD: [float((of < kept.known.threshold).mean()) for of in told]}


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Probability that a known image (N,) scores above an unknown one (M,), ties counting half."""
    order = np.sort(unknown)
    below = np.searchsorted(order, known, "left") + np.searchsorted(order, known, "right")
    return float(below.mean() / 2 / len(unknown))


def found(known: np.ndarray, unknown: np.ndarray) -> float:
    """Share of the unknown images (M,) below the score that FALSE_ALARMS of the known ones (N,) are below."""
    return float((unknown < np.quantile(known, FALSE_ALARMS)).mean())

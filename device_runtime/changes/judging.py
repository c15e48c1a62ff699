"""What an update made becomes a generation: in service, or kept as rejected, with the report that says why."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reverie.device_runtime.home import pictures, store
from reverie.device_runtime.home.store import Generation, Judgement
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.update import Updated
from reverie.device_runtime.promotion.decision import Decision
from reverie.device_runtime.promotion.fresh_process import wrong_answers
from reverie.device_runtime.serving import probation
from reverie.device_runtime.serving.probation import Standing


def add_judged(
    home: Path,
    parent: Generation,
    previous: Models,
    updated: Updated,
    decision: Decision,
    on_probation: int,
    keep: int,
    told: Mapping[str, Any],
) -> None:
    """Write what the update made, and let it serve if it is fit to; with the previous generator if that alone is not.

    `on_probation` are the predictions that it must make before older generations may go. `told` goes into the report.
    Raises EngineError, StorageError.
    """
    models = updated.models
    if decision.promoted and not decision.generator_promoted:
        learnt = previous.with_classes(models.classes).learnt
        models = models.with_generative(previous.generator, previous.discriminator, learnt)
    synthesised = [models.classes[slot] for slot in np.unique(updated.references)]
    report = updated.report.to_json() | dict(told) | {"synthesised": synthesised}

    def judge(generation: Generation) -> Judgement:
        judged = decision.with_answers(wrong_answers(home, generation, models))
        if judged.promoted:
            probation.begin(home, Standing(generation.name, parent.name, on_probation, keep))
        return Judgement(judged.promoted, report | {"promotion": judged.to_json()})

    store.add_generation(home, parent, models, judge, _pictures(updated))


def _pictures(updated: Updated) -> dict[str, bytes]:
    """Of the synthesised inputs, where they are pictures."""
    if updated.models.manifest.backbone is not None or not len(updated.synthesised):
        return {}
    how = updated.models.manifest.preprocessing
    return {pictures.SYNTHESISED: pictures.picture_of_inputs(updated.synthesised, updated.references, how)}

"""Frames whose label all the others contradict, told where there are statistics of the classes.

What would be said of a frame had it not come follows from the sums of all (`closed_form.left_out_logits`). So a wrong
label shows in a class that is new as well, of which no solver knows anything yet.

Where statistics stand beside a generator they tell less well: of honest frames they contradict up to 12 in a hundred
and more in dim light, of wrong ones 50 to 90. There, nothing is set aside unless many more are contradicted than usual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.frames import intake
from reverie.device_runtime.frames.selection import Selection, Shown, without
from reverie.device_runtime.method.comparison import surely_other
from reverie.device_runtime.method.few_frames import left_out_seen
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.labelled import extend_classes
from reverie.device_runtime.method.models import Models, softened
from reverie.device_runtime.method.update import is_solved

USUAL = 0.2
"""Share of the frames that may be contradicted though all are honest, by statistics beside a generator."""


def without_mislabelled(
    selection: Selection, shown: Sequence[Shown], models: Models, config: UpdateConfig, insisted: Sequence[str]
) -> Selection:
    """`selection` without them, each set aside with the class that it looks like.

    What somebody released, or a label that is `insisted` on, stays as it is.

    A label keeps all of its frames where most are contradicted, as then it may be right and the frames in new light,
    and where fewer than `min_images` would be left. Raises FramesError where a class has too few frames at all.
    """
    frames = selection.frames
    classes = extend_classes(models.classes, frames.classes, models.manifest.slots)
    labels = np.array([classes.index(label) for label in frames.classes])[frames.labels]
    solves = is_solved(models, config)
    if solves:
        left_out = models.with_classes(classes).gathered(frames.inputs, labels).left_out(frames.inputs, labels)
    else:
        left_out = left_out_seen(models, Live(frames.inputs, labels))
    seen = surely_other(softened(left_out, 1.0), labels, config.intake.sure)
    if not solves and not _more_than_usual(int((seen >= 0).sum()), len(seen)):
        return selection
    for slot in np.unique(labels):
        own, wrong = labels == slot, (labels == slot) & (seen >= 0)
        if 2 * wrong.sum() >= own.sum() or (own & ~wrong).sum() < config.min_images:
            seen[own] = -1
    seen[[shown[at].trusted or shown[at].label in insisted for at in selection.taken]] = -1
    return without(selection, {int(row): intake.looks_like(classes[seen[row]]) for row in np.flatnonzero(seen >= 0)})


def _more_than_usual(count: int, of: int) -> bool:
    """Whether more than USUAL of the frames are contradicted, by two standard deviations."""
    return count > USUAL * of + 2 * math.sqrt(USUAL * (1 - USUAL) * of)

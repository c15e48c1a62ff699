"""Frames whose label all the others contradict, told where the solver follows from class statistics.

What would be said of a frame had it not come follows from the sums of all (`closed_form.left_out_logits`). So a wrong
label shows in a class that is new as well, of which no solver knows anything yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.frames import intake
from reverie.device_runtime.frames.selection import Selection, Shown
from reverie.device_runtime.method.labelled import Frames, extend_classes
from reverie.device_runtime.method.models import Models, softened
from reverie.device_runtime.method.rows import Chosen, Rows


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
    seen = contradicted(models.with_classes(classes), frames.inputs, labels, config.intake.sure)
    for slot in np.unique(labels):
        own, wrong = labels == slot, (labels == slot) & (seen >= 0)
        if 2 * wrong.sum() >= own.sum() or (own & ~wrong).sum() < config.min_images:
            seen[own] = -1
    seen[[shown[at].trusted or shown[at].label in insisted for at in selection.taken]] = -1
    rows = np.flatnonzero(seen < 0)
    aside = {selection.taken[row]: intake.looks_like(classes[seen[row]]) for row in np.flatnonzero(seen >= 0)}
    return replace(
        selection,
        frames=Frames(Chosen(frames.inputs, rows), frames.labels[rows], frames.classes),
        taken=[selection.taken[row] for row in rows],
        set_aside=dict(sorted((selection.set_aside | aside).items())),
    )


def contradicted(models: Models, inputs: Rows, labels: np.ndarray, sure: float) -> np.ndarray:
    """The slot (N,) of the class that each of `inputs` surely is of in the place of its label (N,), or -1.

    Surely: likelier than all others, and no less likely than images that are labelled so are on average, or than `sure`
    where none are shown (Northcutt et al., "Confident learning", JAIR 2021).
    """
    gathered = models.gathered(inputs, labels)
    probabilities = softened(gathered.left_out(inputs, labels), 1.0)
    found = probabilities.argmax(axis=1)
    bound = np.full(probabilities.shape[1], sure)
    for slot in np.unique(labels):
        bound[slot] = probabilities[labels == slot, slot].mean()
    is_sure = probabilities[np.arange(len(found)), found] >= bound[found]
    return np.where((found != labels) & is_sure, found, -1)

"""Held-out images of the history: half of them may be shown in the updates of a rehearsal, the others are tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.method.labelled import label_files
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.randomness import rng_for
from reverie.tools.bench.harm.images import known_and_new
from reverie.tools.bench.harm.kinds import Material
from reverie.tools.rehearsal.playing import Asked

LEAST = 20
"""Images of a class: half of them are tested, and what fewer say is chance."""
MOST_SHOWN = 100
MOST_TESTED = 300
LEAST_CLASSES = 2
"""Of the bundle's: of one alone nothing can be taken for another. With a third, one can be hidden."""


class HeldOut(NamedTuple):
    """Images by class, uint8, that may be shown; those tested, as inputs; and how many of both there are."""

    shown: Mapping[str, Sequence[np.ndarray]]
    asked: Asked
    size: int

    def material(self, models: Models) -> Material:
        """For `models`, some of whose classes may be hidden: what they do not know is new, if it has a class slot."""
        return Material(self.shown, *known_and_new(self.shown, models))


def read_held_out(folder: Path, models: Models, make: InputMaker) -> HeldOut:
    """All images in `folder/LABEL/`, parted the same way by every seed. Raises FramesError where there are too few."""
    labelled = label_files(folder, LEAST)
    names = {label for label, _ in labelled}
    known = [label for label in models.classes if label in names]
    if len(known) < LEAST_CLASSES:
        raise FramesError(
            f"{folder} has images of {len(known)} of the bundle's classes ({', '.join(models.classes)}): a rehearsal "
            f"needs {LEAST_CLASSES} of them, each in a folder of its name"
        )
    shown: dict[str, list[np.ndarray]] = {}
    tested: list[Path] = []
    truths: list[str] = []
    size = 0
    # Hidden classes are the last ones, so those of the bundle keep their order.
    order = {label: at for at, label in enumerate(models.classes)}
    for label, files in sorted(labelled, key=lambda item: (order.get(item[0], len(order)), item[0])):
        rows = rng_for(0, f"rehearsal: {label}").permutation(len(files))
        half = len(files) // 2
        shown[label] = [read_image(folder / label / files[at]) for at in rows[:half][:MOST_SHOWN]]
        own = [folder / label / files[at] for at in rows[half:][:MOST_TESTED]]
        tested += own
        truths += [label] * len(own)
        size += len(shown[label]) + len(own)
    return HeldOut(shown, Asked(make.read(tested), truths), size)

"""One update of a rehearsal: learnt in memory as a box learns it, judged by the gate's measures and by the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.camera.inputs import CHUNK, InputMaker
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.method.labelled import Frames
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update
from reverie.device_runtime.promotion.evaluation import evaluate
from reverie.device_runtime.promotion.kept import Kept, kept
from reverie.tools.bench.harm.exam import Tested, right
from reverie.tools.bench.harm.kinds import Frame
from reverie.tools.bench.harm.outcomes import Score, total

LOST = 0.1
"""Share of a known class's test images that an update may lose and still count as one without harm."""


class Asked(NamedTuple):
    """Test images as inputs (N, *S), and the class that each shows."""

    inputs: np.ndarray
    truths: Sequence[str]


@dataclass(frozen=True)
class Played:
    """What an update did to test images of each class, and what the gate measured of it."""

    kind: str
    scores: Mapping[str, Score]
    measured: Mapping[str, Kept]
    known: tuple[str, ...]
    right: np.ndarray
    """Of the test images of all classes then known, whether (N,) each is right after it."""

    @property
    def all(self) -> Score:
        """Over all classes then known."""
        return total(self.scores.values())

    @property
    def harmful(self) -> bool:
        """Whether fewer test images are right, or a known class lost many, beyond two standard errors."""
        known = [self.scores[label] for label in self.known if label in self.scores]
        return self.all.harmed or any(score.harmed and score.change < -LOST for score in known)


def play(
    kind: str, models: Models, make: InputMaker, frames: Sequence[Frame], asked: Asked, config: UpdateConfig
) -> Played:
    """Learn `frames`. The generator stays as it is: no judgement of a solver needs the next. Raises FramesError."""
    config = replace(config, generative=replace(config.generative, steps=0))
    updated = run_update(models, _labelled(make, frames), config, Monitor())
    figures = evaluate(models, updated.models, updated.compared)
    tested, now = Tested(*asked, right(models, *asked)), right(updated.models, *asked)
    classes = updated.models.classes
    return Played(kind, tested.scores(now, classes), kept(figures), models.classes, now[np.isin(asked.truths, classes)])


def _labelled(make: InputMaker, frames: Sequence[Frame]) -> Frames:
    labels, slots = np.unique([frame.label for frame in frames], return_inverse=True)
    parts = [frames[at : at + CHUNK] for at in range(0, len(frames), CHUNK)]
    inputs = [make.of_prepared([make.prepared(frame.image, frame.label) for frame in part]) for part in parts]
    return Frames(np.concatenate(inputs), slots, tuple(labels.tolist()))

"""The test images of `reverie bench harm`, and what an update does to those of each class."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.method.comparison import predict
from reverie.device_runtime.method.models import Models
from reverie.tools.bench.accuracy_start import read_in_new_light
from reverie.tools.bench.harm.outcomes import Score, total


@dataclass(frozen=True)
class Tested:
    """Test images as inputs (N, *S), the class that each shows, and whether (N,) it was right before."""

    inputs: np.ndarray
    truths: Sequence[str]
    before: np.ndarray

    def scores(self, after: np.ndarray, classes: Sequence[str]) -> dict[str, Score]:
        """Of each of `classes` that is tested, by whether (N,) each image is right now."""
        truths = np.array(self.truths)
        scores = {}
        for label in classes:
            rows = truths == label
            if rows.any():
                was, now = self.before[rows], after[rows]
                scores[label] = Score(len(was), int(was.sum()), int((was & ~now).sum()), int((now & ~was).sum()))
        return scores

    def scores_of(self, made: Models) -> dict[str, Score]:
        """Of each class that `made` knows and that is tested."""
        return self.scores(right(made, self.inputs, self.truths), made.classes)


class Exam:
    """Test images of some classes, as they are and in new light, each made an input once."""

    def __init__(self, tested: Mapping[str, Sequence[Path]], classes: Sequence[str], models: Models) -> None:
        """`tested` are files by class, `models` the bundle's. Raises FramesError where a class known has none."""
        for label in models.classes:
            if label in classes and not tested.get(label):
                raise FramesError(f"no test images are of {label}: add some, as nobody could tell what it loses")
        self._models = models
        self._make = InputMaker(models.folder, models.manifest)
        self._files = [file for label in classes for file in tested.get(label, ())]
        self._truths = [label for label in classes for _ in tested.get(label, ())]

    @cached_property
    def plain(self) -> Tested:
        """As they are."""
        return self._of(self._make.read(self._files))

    @cached_property
    def relit(self) -> Tested:
        """As `in_new_light` changes them."""
        return self._of(read_in_new_light(self._make, self._files))

    def scores(self, made: Models, relit: Collection[str]) -> dict[str, Score]:
        """Of each class that `made` knows. Those `relit` are tested in new light too, new ones in that alone."""
        scores = self.plain.scores_of(made)
        if relit:
            in_new_light = self.relit.scores_of(made)
            for label in in_new_light.keys() & relit:
                known = [scores[label]] if label in self._models.classes else []
                scores[label] = total([*known, in_new_light[label]])
        return scores

    def _of(self, inputs: np.ndarray) -> Tested:
        return Tested(inputs, self._truths, right(self._models, inputs, self._truths))


def right(models: Models, inputs: np.ndarray, truths: Sequence[str]) -> np.ndarray:
    """Whether (N,) `models` take each of `inputs` for what it shows."""
    spare = [""] * (models.manifest.slots - len(models.classes))  # what a trained solver may say for all that
    return np.asarray(np.array([*models.classes, *spare])[predict(models, inputs)] == np.array(truths))

"""Labelled frames on the box: reading folders of class-named folders and checking them before any work."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.labels import check_label
from reverie.device_runtime.bundle.preprocess import image_names
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.rows import Chosen, Rows


class Frames(NamedTuple):
    """Inputs (N, *S) and the label of each, an index into `classes`."""

    inputs: Rows
    labels: np.ndarray
    classes: tuple[str, ...]

    def chosen(self, rows: np.ndarray) -> Frames:
        """Those with the numbers `rows`, not read yet; a label that has none is no class any more."""
        left, labels = np.unique(self.labels[rows], return_inverse=True)
        return Frames(Chosen(self.inputs, rows), labels, tuple(self.classes[at] for at in left))

    def without(self, labels: Collection[str]) -> Frames:
        """All but those of `labels`."""
        gone = [at for at, label in enumerate(self.classes) if label in labels]
        return self.chosen(np.flatnonzero(~np.isin(self.labels, gone))) if gone else self


def label_files(folder: Path, min_images: int) -> list[tuple[str, list[str]]]:
    """Each label in `folder` with the names of its image files, `folder/LABEL/*.png|jpg`.

    Raises FramesError naming the first thing wrong.
    """
    if not folder.is_dir():
        raise FramesError(f"{folder} is no folder: give one with a folder of images for each label")
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise FramesError(f"{folder} has no folders: put the images of each label into a folder of its name")
    labelled = []
    for path in folders:
        check_label(path.name)
        found = image_names(path)
        if len(found) < max(min_images, 1):
            raise FramesError(
                f"{path} has {len(found)} PNG or JPEG images: at least {min_images} are needed, "
                "add more or remove the folder"
            )
        labelled.append((path.name, found))
    return labelled


def extend_classes(known: tuple[str, ...], frames: tuple[str, ...], slots: int) -> tuple[str, ...]:
    """`known` and after them the new labels among `frames`, each in the next slot. Raises FramesError."""
    new = tuple(label for label in frames if label not in known)
    if len(known) + len(new) > slots:
        raise FramesError(
            f"{len(new)} new labels ({', '.join(new)}) but {slots - len(known)} spare class slots: "
            "remove labels, or export a bundle with more --spare-classes"
        )
    return known + new


def split(frames: Frames, classes: tuple[str, ...], holdout: float, seed: int) -> tuple[Live, Live]:
    """Live inputs to train on and a held-out share of every class, not read yet; labels as slots of `classes`."""
    train, held_out = [], []
    for index in range(len(frames.classes)):
        rows = np.flatnonzero(frames.labels == index)
        rows = rng_for(seed, "holdout", index).permutation(rows)
        kept = min(len(rows) - 1, round(holdout * len(rows)))
        held_out.append(rows[:kept])
        train.append(rows[kept:])
    slot = np.asarray([classes.index(label) for label in frames.classes])

    def take(parts: list[np.ndarray]) -> Live:
        rows = np.sort(np.concatenate(parts))
        return Live(Chosen(frames.inputs, rows), slot[frames.labels[rows]])

    return take(train), take(held_out)

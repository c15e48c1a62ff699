"""Questions before learning: labels of which what is known says that they may be wrong, held back until answered.

A label is held back whole, while the others are learnt: as a frame that is set aside by itself says nothing of the
label, so a whole class under a wrong name shows in no single frame. Light, angle or focus that is new scatters what the
solver takes frames for, and nothing is asked about it.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.frames import intake
from reverie.device_runtime.frames.selection import Selection, Shown, without
from reverie.device_runtime.method.labelled import Frames
from reverie.device_runtime.method.likeness import likeness_of, looks_like
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.rows import Chosen

COPIES = (intake.DUPLICATE, intake.NEAR_DUPLICATE)


class Doubt(NamedTuple):
    """The known class that most frames of a label look like, and how many of how many are taken for it."""

    other: str
    taken: int
    of: int


def hold_back(selection: Selection, shown: Sequence[Shown], models: Models, insisted: Sequence[str]) -> Selection:
    """`selection` without the labels that are doubted, but for those `insisted` on and those that somebody looked at.

    Their frames count as set aside with the reason. Raises FramesError where no label is left, or where one insisted on
    is not among what is shown; BundleError.
    """
    labels = Counter(frame.label for frame in shown)
    for label in insisted:
        if label not in labels:
            raise FramesError(f"no frame of {label} is shown, so there is nothing to insist on")
    trusted = Counter(frame.label for frame in shown if frame.trusted)
    doubted = copied(labels, selection.counts(shown)) | reasons(doubts(models, selection.frames))
    held = {
        label: reason for label, reason in doubted.items() if label not in insisted and trusted[label] < labels[label]
    }
    if not held:
        return selection
    if not set(selection.frames.classes) - held.keys():
        told = "; ".join(f"{label}: {reason}" for label, reason in held.items())
        insist = " ".join(f"--insist {shlex.quote(label)}" for label in held)
        raise FramesError(f"held back, so nothing is left to learn: {told}. If the labels are right, add {insist}")
    own = (shown[at].label for at in selection.taken)
    return without(selection, {r: f"{intake.HELD_BACK}: {held[label]}" for r, label in enumerate(own) if label in held})


def doubts(models: Models, frames: Frames) -> dict[str, Doubt]:
    """Label → which other class it looks like, by the statistics of `models`; none without. Raises BundleError."""
    likeness = likeness_of(models)
    found: dict[str, Doubt] = {}
    if likeness is None:
        return found
    for at, label in enumerate(frames.classes):
        inputs = Chosen(frames.inputs, np.flatnonzero(frames.labels == at))
        like = looks_like(models, likeness, inputs)
        if like is not None and models.classes[like.slot] != label:
            found[label] = Doubt(models.classes[like.slot], like.taken, len(inputs))
    return found


def copied(shown: Mapping[str, int], set_aside: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Label → that most of its frames `shown` are copies of others, by what was `set_aside` of it and why."""
    found = {}
    for label, count in shown.items():
        copies = sum(set_aside.get(label, {}).get(reason, 0) for reason in COPIES)
        if 2 * copies > count:
            found[label] = f"{copies} of {count} frames are copies of others: show more sides of it"
    return found


def reasons(found: Mapping[str, Doubt]) -> dict[str, str]:
    """Label → what to say of its doubt."""
    said = {}
    for label, doubt in found.items():
        share = f"{doubt.taken} of {doubt.of} frames are taken for {doubt.other} and look like it"
        swapped = doubt.other in found and found[doubt.other].other == label
        said[label] = f"{share}, and the other way round: the two look swapped" if swapped else share
    return said

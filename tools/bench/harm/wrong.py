"""Updates whose labels or frames are wrong, by mistake or on purpose."""

from __future__ import annotations

import math

import numpy as np

from reverie.tools.bench.harm.honest import new_and_known, new_classes
from reverie.tools.bench.harm.kinds import (
    FRAMES,
    Frame,
    Make,
    Material,
    a_known,
    a_new,
    honest_frames,
    some_known,
    some_new,
)

GREY = 128
"""What a decoder fills in for what was lost."""


def renamed(names: int) -> Make:
    """One known class under so many new names, by turns."""

    def make(material: Material, rng: np.random.Generator) -> list[Frame]:
        label = a_known(material, rng)
        frames = honest_frames(material, label, FRAMES, rng)
        return [frame._replace(label=f"{label} {at % names + 1}") for at, frame in enumerate(frames)]

    return make


def known_as_another(material: Material, rng: np.random.Generator) -> list[Frame]:
    """One known class under the name of another."""
    label, other = some_known(material, 2, rng)
    return relabelled(honest_frames(material, label, FRAMES, rng), other)


def known_swapped(material: Material, rng: np.random.Generator) -> list[Frame]:
    """Two known classes, each under the other's name."""
    one, other = some_known(material, 2, rng)
    frames = [honest_frames(material, label, FRAMES, rng) for label in (one, other)]
    return relabelled(frames[0], other) + relabelled(frames[1], one)


def new_as_known(material: Material, rng: np.random.Generator) -> list[Frame]:
    """One new class under the name of a known one."""
    frames = honest_frames(material, a_new(material, rng), FRAMES, rng)
    return relabelled(frames, a_known(material, rng))


def random_labels(share: float) -> Make:
    """All classes, and a share of each one's frames under any other label."""

    def make(material: Material, rng: np.random.Generator) -> list[Frame]:
        frames = []
        labels = sorted((*material.known, *material.new))
        for label in labels:
            right = honest_frames(material, label, FRAMES, rng)
            others = [other for other in labels if other != label]
            for at in range(math.ceil(share * len(right))):
                right[at] = right[at]._replace(label=others[rng.integers(len(others))])
            frames += right
        return frames

    return make


def partly_another(share: float) -> Make:
    """One known class, a share of it under another's name."""

    def make(material: Material, rng: np.random.Generator) -> list[Frame]:
        label, other = some_known(material, 2, rng)
        frames = honest_frames(material, label, FRAMES, rng)
        count = math.ceil(share * len(frames))
        return relabelled(frames[:count], other) + frames[count:]

    return make


def partly_known(share: float) -> Make:
    """One new class, a share of whose frames shows a known one."""

    def make(material: Material, rng: np.random.Generator) -> list[Frame]:
        label = a_new(material, rng)
        frames = honest_frames(material, label, FRAMES, rng)
        count = math.ceil(share * len(frames))
        strangers = honest_frames(material, a_known(material, rng), count, rng)
        return relabelled(strangers, label) + frames[count:]

    return make


def exchanged(share: float) -> Make:
    """Two new classes, a share of each under the other's name."""

    def make(material: Material, rng: np.random.Generator) -> list[Frame]:
        one, other = some_new(material, 2, rng)
        frames = []
        for label, wrong in ((one, other), (other, one)):
            right = honest_frames(material, label, FRAMES, rng)
            count = math.ceil(share * len(right))
            frames += relabelled(right[:count], wrong) + right[count:]
        return frames

    return make


def one_label(material: Material, rng: np.random.Generator) -> list[Frame]:
    """All classes under the name of one that is new."""
    return relabelled(new_and_known(20)(material, rng), a_new(material, rng))


def one_frame(material: Material, rng: np.random.Generator) -> list[Frame]:
    """One frame of a new class, again and again."""
    return honest_frames(material, a_new(material, rng), 1, rng) * FRAMES


def noise(material: Material, rng: np.random.Generator) -> list[Frame]:
    """What shows nothing, as a class."""
    shape = material.images[a_known(material, rng)][0].shape
    return [Frame("noise", rng.integers(0, 256, shape, np.uint8), "") for _ in range(FRAMES)]


def half_decoded(material: Material, rng: np.random.Generator) -> list[Frame]:
    """All new classes, of whose frames the lower half was lost on the way."""
    return [f._replace(image=without_lower_half(f.image)) for f in new_classes(FRAMES)(material, rng)]


def without_lower_half(image: np.ndarray) -> np.ndarray:
    """A uint8 image (H, W) or (H, W, 3) whose lower half is grey."""
    cut = image.copy()
    cut[len(cut) // 2 :] = GREY
    return cut


def relabelled(frames: list[Frame], label: str) -> list[Frame]:
    """`frames` under another label."""
    return [frame._replace(label=label) for frame in frames]


WRONG: dict[str, Make] = {
    "known under a new name": renamed(1),
    "known under two new names": renamed(2),
    "known as another": known_as_another,
    "two known swapped": known_swapped,
    "new as known": new_as_known,
    "10 % random labels": random_labels(0.1),
    "20 % random labels": random_labels(0.2),
    "40 % random labels": random_labels(0.4),
    "20 % of a known as another": partly_another(0.2),
    "20 % of a new are a known": partly_known(0.2),
    "30 % of two new exchanged": exchanged(0.3),
    "all under one label": one_label,
    "one frame again and again": one_frame,
    "noise as a class": noise,
    "half-decoded": half_decoded,
}
"""Name → what makes the frames."""

"""Updates whose labels are right, as people at cameras show things."""

from __future__ import annotations

import cv2
import numpy as np

from reverie.tools.bench.folder_protocols import BLUR, in_new_light
from reverie.tools.bench.harm.kinds import (
    FRAMES,
    Change,
    Frame,
    Make,
    Material,
    a_known,
    a_new,
    honest_frames,
    some_new,
)

SHOWN_AGAIN = 100
FEW = 5
DEGREES = 10.0
"""By which a frame is turned at most."""
MOVED = 0.02
"""By which a hand that holds still moves at most, as a share of the shorter side."""
CAMERA_NOISE = 10.0
"""Standard deviation, in grey levels."""
POSES = 0.1
"""Share of the frames that show another pose, where nearly all show one."""


def new_classes(count: int) -> Make:
    """All new classes, `count` frames each."""

    def make(material: Material, rng: np.random.Generator) -> list[Frame]:
        labels = some_new(material, max(1, len(material.new)), rng)
        return [frame for label in labels for frame in honest_frames(material, label, count, rng)]

    return make


def one_new(count: int) -> Make:
    """One new class."""
    return lambda material, rng: honest_frames(material, a_new(material, rng), count, rng)


def one_known(count: int) -> Make:
    """One known class."""
    return lambda material, rng: honest_frames(material, a_known(material, rng), count, rng)


def known_classes(count: int) -> Make:
    """All known classes, `count` frames each."""
    return lambda material, rng: [f for label in material.known for f in honest_frames(material, label, count, rng)]


def new_and_known(count: int) -> Make:
    """All classes, `count` frames each."""
    return lambda material, rng: new_classes(count)(material, rng) + known_classes(count)(material, rng)


def unbalanced(material: Material, rng: np.random.Generator) -> list[Frame]:
    """All frames of one new class, and few of another."""
    many, few = some_new(material, 2, rng)
    return honest_frames(material, many, FRAMES, rng) + honest_frames(material, few, FEW, rng)


def one_pose(material: Material, rng: np.random.Generator) -> list[Frame]:
    """One new class, nearly all of whose frames are one image, as a hand that holds still shows it."""
    label = a_new(material, rng)
    first, *others = honest_frames(material, label, 1 + round(POSES * FRAMES), rng)
    still = [first._replace(image=held_still(first.image, rng)) for _ in range(FRAMES - len(others))]
    return still + others


def changed(make: Make, change: Change) -> Make:
    """The frames of `make`, each changed."""
    return lambda material, rng: [f._replace(image=change(f.image, rng)) for f in make(material, rng)]


def relit(image: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """In new light, as the protocol `shift` has it."""
    return in_new_light(image)


def darker(image: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Light alone: three fifths of it."""
    return (image * 0.6).astype(np.uint8)


def brighter(image: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Light alone: a third more of it, and a haze."""
    return np.clip(image * (4 / 3) + 20, 0, 255).astype(np.uint8)


def turned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """About its middle."""
    return _moved(image, rng.uniform(-DEGREES, DEGREES), np.zeros(2))


def blurred(image: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Out of focus, and by as much as shows in the smallest pictures."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(0.5, BLUR * min(image.shape[:2]))))


def noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As a camera has it in the dark."""
    return np.clip(image + rng.normal(0, CAMERA_NOISE, image.shape), 0, 255).astype(np.uint8)


def held_still(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A moment later: moved and lit by hardly more or less."""
    side = MOVED * min(image.shape[:2])
    moved = _moved(image, rng.uniform(-2, 2), rng.uniform(-side, side, 2))
    return np.clip(moved * rng.uniform(0.97, 1.03), 0, 255).astype(np.uint8)


def _moved(image: np.ndarray, degrees: float, by: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += by
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE))


HONEST: dict[str, Make] = {
    "new, 60 frames": new_classes(60),
    "new, 20 frames": new_classes(20),
    "new, 5 frames": new_classes(FEW),
    "one new, 20 frames": one_new(20),
    "new and known": new_and_known(20),
    "new, unbalanced": unbalanced,
    "new, one pose": one_pose,
    "new, in new light": changed(new_classes(FRAMES), relit),
    "known again": one_known(SHOWN_AGAIN),
    "known again, 5 frames": one_known(FEW),
    "all known again": known_classes(FRAMES),
    "known, in new light": changed(one_known(FRAMES), relit),
    "all known, in new light": changed(known_classes(FRAMES), relit),
    "known, darker": changed(one_known(FRAMES), darker),
    "known, brighter": changed(one_known(FRAMES), brighter),
    "known, turned": changed(one_known(FRAMES), turned),
    "known, blurred": changed(one_known(FRAMES), blurred),
    "known, noisy": changed(one_known(FRAMES), noisy),
}
"""Name → what makes the frames."""
RELIT = ("new, in new light", "known, in new light", "all known, in new light")
"""Kinds that show classes in new light: what a box sees from then on."""

"""What a kind of update is made of: frames of some images, under the labels that somebody gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.errors import FramesError

FRAMES = 60
"""Of a class in most kinds of update, or as many as there are."""


class Frame(NamedTuple):
    """A uint8 image (H, W) or (H, W, 3 in BGR order), the label that it is given, and the class that it shows or ""."""

    label: str
    image: np.ndarray
    truth: str


class Material(NamedTuple):
    """Images by class, uint8; the classes that the bundle knows, and those that are new to it."""

    images: Mapping[str, Sequence[np.ndarray]]
    known: tuple[str, ...]
    new: tuple[str, ...]


Make = Callable[[Material, np.random.Generator], list[Frame]]
"""The frames of one update. Raises FramesError where there are too few classes for it."""
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""An image as another camera, hand or light would have it."""


def drawn(classes: Sequence[str], count: int, what: str, rng: np.random.Generator) -> list[str]:
    """`count` of `classes`, in random order. Raises FramesError where there are fewer, which it calls `what`."""
    if len(classes) < count:
        raise FramesError(f"it takes {count} {what} classes, and there are {len(classes)}")
    return [classes[at] for at in rng.permutation(len(classes))[:count]]


def some_known(material: Material, count: int, rng: np.random.Generator) -> list[str]:
    """`count` known classes, in random order. Raises FramesError."""
    return drawn(material.known, count, "known", rng)


def some_new(material: Material, count: int, rng: np.random.Generator) -> list[str]:
    """`count` new classes, in random order. Raises FramesError."""
    return drawn(material.new, count, "new", rng)


def a_known(material: Material, rng: np.random.Generator) -> str:
    """A known class. Raises FramesError."""
    return some_known(material, 1, rng)[0]


def a_new(material: Material, rng: np.random.Generator) -> str:
    """A new class. Raises FramesError."""
    return some_new(material, 1, rng)[0]


def honest_frames(material: Material, label: str, count: int, rng: np.random.Generator) -> list[Frame]:
    """`count` frames of `label`, or as many as there are, in random order."""
    images = material.images[label]
    return [Frame(label, images[at], label) for at in rng.permutation(len(images))[:count]]

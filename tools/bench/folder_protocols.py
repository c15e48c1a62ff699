"""The protocols on a folder of images: which classes are pretrained, which come with each update, and how they look."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from reverie.device_runtime.errors import FramesError
from reverie.tools.bench.protocols import product_tasks

CHAIN = 5
"""Updates of `chain`."""
DIMMED = 0.5
TINT = (0.7, 1.0, 1.2)
"""Of blue, green and red: the light of a bulb."""
BLUR = 0.01
"""Standard deviation, as a share of the shorter side."""


class FolderProtocol(NamedTuple):
    """What is learnt of a folder's classes. Protocols that agree in `pretraining` begin with the same networks."""

    tasks: Callable[[int], list[list[int]]]
    """Number of classes → those pretrained, then those of each update. Raises FramesError where there are too few."""
    pretraining: str
    live: int | None = None
    """At most so many live images of each class in an update; None takes all that are not tested."""
    in_new_light: bool = False
    """Whether images of the updates, live and tested, are changed by `in_new_light`."""


def chain_tasks(classes: int) -> list[list[int]]:
    """Half of the classes are pretrained, at least two, and the rest comes in five updates, as many in each.

    Raises FramesError where there are too few.
    """
    known = max(2, classes // 2)
    if classes - known < CHAIN:
        raise FramesError(f"{classes} classes are too few: half are known, and {CHAIN} updates need one each")
    return [list(range(known)), *(part.tolist() for part in np.array_split(np.arange(known, classes), CHAIN))]


def same_tasks(classes: int) -> list[list[int]]:
    """All classes are pretrained, and all come again in one update."""
    return [list(range(classes))] * 2


def in_new_light(image: np.ndarray) -> np.ndarray:
    """A uint8 image (H, W) or (H, W, 3 in BGR order) half as bright, of a warmer colour and out of focus."""
    gains = DIMMED * np.asarray(TINT if image.ndim == 3 else 1.0)
    changed = np.clip(image * gains, 0, 255).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(changed, (0, 0), BLUR * min(image.shape[:2])))


FOLDER_PROTOCOLS = {
    "product": FolderProtocol(product_tasks, "product"),
    "chain": FolderProtocol(chain_tasks, "chain"),
    **{f"few-{live}": FolderProtocol(product_tasks, "product", live) for live in (5, 20, 60)},
    "shift": FolderProtocol(same_tasks, "shift", 60, in_new_light=True),
}

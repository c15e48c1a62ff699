"""Pictures of what a box makes by itself: generated and synthesised inputs, a row a class. No frame is in them."""

from __future__ import annotations

import cv2
import numpy as np

from reverie.device_runtime.bundle.preprocess import Preprocessing, input_to_image
from reverie.device_runtime.errors import ReverieError
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.noise import noise_of
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import generate

COLUMNS = 16
SYNTHESISED = "synthesised.png"
"""File of a generation with a picture of the inputs that were synthesised for it."""


def picture_of_classes(models: Models, columns: int = COLUMNS, scale: int = 2) -> bytes:
    """Generated inputs of each class in use, a row a class, as a PNG file enlarged by `scale`.

    Raises ReverieError behind a backbone, where inputs are no pictures.
    """
    if models.manifest.backbone is not None:
        raise ReverieError(
            f"{models.manifest.name} generates features of its backbone, which are no pictures: leave the picture out"
        )
    labels = np.repeat(np.arange(len(models.classes)), columns)
    noise = noise_of(models, labels, rng_for(0, "picture"))
    return picture_of_inputs(generate(models, noise, labels), labels, models.manifest.preprocessing, columns, scale)


def picture_of_inputs(
    inputs: np.ndarray, labels: np.ndarray, how: Preprocessing, columns: int = COLUMNS, scale: int = 2
) -> bytes:
    """The first inputs (N, *S) of each of `labels` (N,), a row a label in their order, as a PNG file."""
    blank = np.full((how.height, how.width, 3), 255, np.uint8)
    rows = []
    for label in np.unique(labels):
        images = [_colour(input_to_image(x, how)) for x in inputs[labels == label][:columns]]
        rows.append(np.concatenate(images + [blank] * (columns - len(images)), axis=1))
    enlarged = np.concatenate(rows).repeat(scale, axis=0).repeat(scale, axis=1)
    grey = bool((enlarged == enlarged[:, :, :1]).all())
    return cv2.imencode(".png", enlarged[:, :, 0] if grey else enlarged)[1].tobytes()


def _colour(image: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)) if image.ndim == 2 else image

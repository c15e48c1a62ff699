"""Ways to poison labelled frames, for `reverie bench poisoning`: what a careless or hostile person may show a box."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from reverie.device_runtime.bundle.preprocess import image_files
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.method.randomness import rng_for

FLIPS = {f"{percent} % flipped": percent / 100 for percent in (0, 5, 10, 20, 40)}
CASES = (*FLIPS, "blank", "one frame", "one class", "backdoor")
"""Shares of wrong labels; black frames of the last label; each label one frame, repeated; the first label alone; a
white patch in a corner of a tenth of the other labels' frames, which are given the first label."""

BACKDOOR_SHARE = 0.1
PATCH = 0.15
"""Side of the backdoor's patch, as a share of the image's."""


def poison(frames: Path, output: Path, case: str, seed: int) -> None:
    """Write `frames`, class-named folders of images, to the new folder `output`, poisoned as `case`, one of CASES.

    Raises FramesError.
    """
    if case not in CASES:
        raise FramesError(f"{case} is no way to poison frames: choose one of {', '.join(CASES)}")
    labels = sorted(path.name for path in frames.iterdir() if path.is_dir())
    rng = rng_for(seed, f"poison: {case}")
    for at, label in enumerate(labels):
        files = image_files(frames / label)
        given = np.full(len(files), at)
        if case in FLIPS and len(labels) > 1:
            wrong = rng.permutation(len(files))[: round(FLIPS[case] * len(files))]
            given[wrong] = (at + rng.integers(1, len(labels), len(wrong))) % len(labels)
        elif case == "backdoor" and at > 0:
            given[rng.permutation(len(files))[: round(BACKDOOR_SHARE * len(files))]] = 0
        elif case == "one frame":
            files = files[:1] * len(files)
        elif case == "one class" and at > 0:
            continue
        for number, (file, slot) in enumerate(zip(files, given, strict=True)):
            target = output / labels[slot] / f"{label}-{number:05d}{file.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            if case == "blank" and at == len(labels) - 1:
                cv2.imwrite(str(target), np.zeros_like(read_image(file)))
            elif case == "backdoor" and slot != at:
                cv2.imwrite(str(target), patched(read_image(file)))
            else:
                shutil.copyfile(file, target)


def patched(image: np.ndarray) -> np.ndarray:
    """`image` with the backdoor's patch in its lower right corner."""
    side = max(1, round(PATCH * min(image.shape[:2])))
    marked = image.copy()
    marked[-side - 1 : -1, -side - 1 : -1] = 255
    return marked

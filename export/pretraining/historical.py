"""Reading the historical images: a folder of class-named folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.labels import check_labels
from reverie.device_runtime.bundle.preprocess import Preprocessing, image_files, image_to_input
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.errors import ExportError
from reverie.export.solvers.preprocessing import Stated, with_stated

CHUNK = 16
"""Images that are held at a time while their features are computed."""


class Historical(NamedTuple):
    """Image files, the label (N,) of each, class names and the preprocessing that fits."""

    files: list[Path]
    labels: np.ndarray
    classes: tuple[str, ...]
    how: Preprocessing
    grey_as_the_first: bool = False
    """Nobody has said that images are grey, but the first one is."""


def find_historical(
    folder: Path, size: tuple[int, ...] | None, stated: Stated | None = None, classes: tuple[str, ...] = ()
) -> Historical:
    """What `folder` holds, of which only the first image is read yet. Raises ExportError.

    Grey if the first image is; all images must be of one size unless `size` (H, W) is given. `stated` takes the place
    of what would fit, `classes` gives the order of the folders instead of the alphabet.
    """
    folders = _class_folders(folder, classes)
    files: list[Path] = []
    labels: list[int] = []
    for index, path in enumerate(folders):
        found = image_files(path)
        if len(found) < 2:
            raise ExportError(
                f"{path} holds {len(found)} PNG or JPEG images: at least 2 are needed, one to train and one to "
                "validate with; add some or remove the folder"
            )
        files += found
        labels += [index] * len(found)
    how = _preprocessing(read_image(files[0]), size, stated or {})
    guessed = how.colour == "grey" and (stated or {}).get("colour") is None
    return Historical(files, np.asarray(labels), tuple(path.name for path in folders), how, guessed)


def read_images(historical: Historical) -> Iterator[np.ndarray]:
    """Preprocessed images, CHUNK at a time. Raises ExportError where one differs from the first in size or colour."""
    how = historical.how
    for at in range(0, len(historical.files), CHUNK):
        chunk = []
        for file in historical.files[at : at + CHUNK]:
            image = read_image(file)
            if how.resize == "exact" and image.shape[:2] != (how.height, how.width):
                raise ExportError(
                    f"{file} is {image.shape[1]}x{image.shape[0]} pixels, the first image is {how.width}x{how.height}: "
                    "give --size HEIGHT,WIDTH to resize them all"
                )
            if historical.grey_as_the_first and not _is_grey(image):
                raise ExportError(
                    f"{file} has colours, the first image, {historical.files[0]}, has none: say --colour rgb, or "
                    "--colour grey to leave them out"
                )
            chunk.append(image_to_input(image, how, file))
        yield np.stack(chunk)


def _class_folders(folder: Path, classes: tuple[str, ...]) -> list[Path]:
    """The folders in `folder` in the order of `classes`, or else of the alphabet. Raises ExportError."""
    if not folder.is_dir():
        raise ExportError(f"{folder} is no folder: give one with a folder of images for each class")
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    if len(folders) < 2:
        raise ExportError(f"{folder} needs a folder of images for each of at least two classes")
    names = tuple(path.name for path in folders)
    check_labels(names, ExportError)
    if classes and sorted(classes) != list(names):
        raise ExportError(
            f"--classes {','.join(classes)} are not the folders in {folder}, {', '.join(names)}: name each once"
        )
    return sorted(folders, key=lambda path: (classes or names).index(path.name))


def _preprocessing(image: np.ndarray, size: tuple[int, ...] | None, stated: Stated) -> Preprocessing:
    if size is None and stated.get("resize") not in {None, "exact"}:
        raise ExportError("--resize needs the size that images end in: give --size HEIGHT,WIDTH")
    if size is not None and len(size) != 2:
        raise ExportError(f"size {size} is not HEIGHT,WIDTH")
    grey = _is_grey(image)
    height, width = size or image.shape[:2]
    usual = Preprocessing(int(height), int(width), "grey" if grey else "rgb", resize="stretch" if size else "exact")
    return with_stated(usual, stated)


def _is_grey(image: np.ndarray) -> bool:
    return bool(image.ndim == 2 or (np.ptp(image.astype(np.int16), axis=2) == 0).all())

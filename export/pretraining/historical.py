"""Reading the historical images: a folder of class-named folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.labels import check_labels
from reverie.device_runtime.bundle.preprocess import Preprocessing, image_files, image_to_input
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.errors import ExportError, FramesError
from reverie.export.solvers.preprocessing import Stated, with_stated

CHUNK = 16
"""Images that are held at a time while their features are computed."""
MOST_DAMAGED = 0.05
"""Share of the images that may be unreadable: more is no accident of single files."""
OTHER_SUFFIXES = frozenset((".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".avif"))
"""Of images in formats that are not read."""


class Historical(NamedTuple):
    """Image files, the label (N,) of each, class names and the preprocessing that fits."""

    files: list[Path]
    labels: np.ndarray
    classes: tuple[str, ...]
    how: Preprocessing
    grey_as_the_first: bool = False
    """Nobody has said that images are grey, but the first one is."""
    passed_over: tuple[str, ...] = ()
    """What of the folder is not taken, in words."""


def find_historical(
    folder: Path, size: tuple[int, ...] | None, stated: Stated | None = None, classes: tuple[str, ...] = ()
) -> Historical:
    """What `folder` holds, each image read once to see that it can be. Raises ExportError.

    Hidden files, such as those that macOS leaves beside others, are none of it. Damaged images are passed over up to
    MOST_DAMAGED. Grey if the first image is; all images must be of one size unless `size` (H, W) is given. `stated`
    takes the place of what would fit, `classes` gives the order of the folders instead of the alphabet.
    """
    folders = _class_folders(folder, classes)
    files: list[Path] = []
    labels: list[int] = []
    damaged: list[Path] = []
    for index, path in enumerate(folders):
        left: list[Path] = []
        unreadable: list[Path] = []
        for file in image_files(path):
            (left if _is_readable(file) else unreadable).append(file)
        if len(left) < 2:
            raise ExportError(
                f"{path} holds {len(left)} PNG or JPEG images{_beside(unreadable, path)}: at least 2 are "
                "needed, one to train and one to validate with; add some or remove the folder"
            )
        files += left
        labels += [index] * len(left)
        damaged += unreadable
    if len(damaged) > MOST_DAMAGED * (len(files) + len(damaged)):
        raise ExportError(
            f"{len(damaged)} of {len(files) + len(damaged)} images in {folder} cannot be read, {damaged[0]} first: "
            "copy them again, or remove them"
        )
    how = _preprocessing(read_image(files[0]), size, stated or {})
    guessed = how.colour == "grey" and (stated or {}).get("colour") is None
    classes = tuple(path.name for path in folders)
    return Historical(files, np.asarray(labels), classes, how, guessed, tuple(_passed_over(folders, damaged)))


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
    order = classes or _ordered(names)
    return sorted(folders, key=lambda path: order.index(path.name))


def _ordered(names: tuple[str, ...]) -> tuple[str, ...]:
    """As people count where all `names` are numbers, 2 before 10, and else as they are, in alphabetical order."""
    numbers = all(name.isascii() and name.isdigit() for name in names)
    return tuple(sorted(names, key=int)) if numbers else names


def _is_readable(file: Path) -> bool:
    try:
        read_image(file)
    except FramesError:
        return False
    return True


def _other_formats(folders: list[Path]) -> list[str]:
    """How many images in other formats lie in `folders`, by suffix."""
    paths = (path for folder in folders for path in folder.iterdir() if path.name[0] != "." and path.is_file())
    others = Counter(path.suffix.lower() for path in paths if path.suffix.lower() in OTHER_SUFFIXES)
    return [f"{count} {suffix}" for suffix, count in sorted(others.items())]


def _beside(damaged: list[Path], folder: Path) -> str:
    """What else lies in `folder` that might have been meant."""
    beside = ([f"{len(damaged)} damaged"] if damaged else []) + _other_formats([folder])
    return f" beside {', '.join(beside)}" if beside else ""


def _passed_over(folders: list[Path], damaged: list[Path]) -> Iterator[str]:
    if damaged:
        first = damaged[0].relative_to(damaged[0].parents[1])
        yield f"{len(damaged)} images cannot be read and are passed over, {first} first"
    others = ", ".join(_other_formats(folders))
    if others:
        yield f"images in other formats are passed over ({others}): convert them to PNG or JPEG"


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

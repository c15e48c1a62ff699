"""The provider's canary images, from a folder of class-named folders into the bundle, as inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reverie.device_runtime.bundle.canary import write_canary
from reverie.device_runtime.bundle.manifest import CANARY, Manifest
from reverie.device_runtime.bundle.preprocess import image_files
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.errors import ExportError

MOST_BYTES = 64 << 20
"""A box reads the file whole at every update."""


def canary_files(folder: Path, classes: tuple[str, ...], input_shape: tuple[int, ...]) -> tuple[list[Path], np.ndarray]:
    """Image files and the class slot of each (N,). Raises ExportError."""
    folders = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    unknown = [path.name for path in folders if path.name not in classes]
    if unknown:
        raise ExportError(f"{folder / unknown[0]} is no class of the solver: name the folders {', '.join(classes)}")
    files = [(file, classes.index(path.name)) for path in folders for file in image_files(path)]
    if not files:
        raise ExportError(f"{folder} has no images: give a folder with a folder of PNG or JPEG images for each class")
    most = MOST_BYTES // (2 * int(np.prod(input_shape)))
    if len(files) > most:
        raise ExportError(f"{folder} has {len(files)} images: for inputs of this size, give at most {most}")
    return [file for file, _ in files], np.array([slot for _, slot in files])


def add_canary(bundle: Path, manifest: Manifest, images: Path) -> None:
    """Write the file into the folder of a bundle that is complete but for it. Raises ExportError, FramesError."""
    files, labels = canary_files(images, manifest.classes, manifest.input_shape)
    (bundle / CANARY).write_bytes(write_canary(InputMaker(bundle, manifest).read(files), labels))

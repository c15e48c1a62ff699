"""Reading the historical images and pretraining on them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reverie.device_runtime.bundle import MODELS
from reverie.device_runtime.errors import ExportError
from reverie.device_runtime.labels import check_labels
from reverie.device_runtime.preprocess import Preprocessing, image_files, image_to_input, read_image
from reverie.export.factories import (
    build_network,
    is_onnx,
    load_weights,
    read_weights_file,
    require_own_memory,
    require_shape,
)
from reverie.export.networks import RangedGenerator
from reverie.export.onnx_solver import OnnxSolver, compare_with_file
from reverie.export.preprocessing import Stated, compare_with_callable, input_range, with_stated
from reverie.export.pretrain import PretrainConfig, Progress, pretrain
from reverie.export.pretrained import RANGED, REFERENCE, Pretrained, save_pretrained


def read_historical(
    folder: Path, size: tuple[int, ...] | None, stated: Stated | None = None, classes: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], Preprocessing]:
    """Inputs (N, C, H, W), labels (N,), class names and the preprocessing that fits. Raises ExportError.

    Grey if the first image is; all images must be of one size unless `size` (H, W) is given. `stated` takes the place
    of what would fit, `classes` gives the order of the folders instead of the alphabet.
    """
    folders = _class_folders(folder, classes)
    inputs: list[np.ndarray] = []
    labels: list[int] = []
    how: Preprocessing | None = None
    for index, path in enumerate(folders):
        files = image_files(path)
        if len(files) < 2:
            raise ExportError(
                f"{path} holds {len(files)} PNG or JPEG images: at least 2 are needed, one to train and one to "
                "validate with; add some or remove the folder"
            )
        for file in files:
            image = read_image(file)
            if how is None:
                how = _preprocessing(image, size, stated or {})
            if how.resize == "exact" and image.shape[:2] != (how.height, how.width):
                raise ExportError(
                    f"{file} is {image.shape[1]}x{image.shape[0]} pixels, the first image is {how.width}x{how.height}: "
                    "give --size HEIGHT,WIDTH to resize them all"
                )
            inputs.append(image_to_input(image, how, file))
            labels.append(index)
    if how is None:
        raise ExportError(f"{folder} holds no images")
    return np.stack(inputs), np.asarray(labels), tuple(p.name for p in folders), how


def _class_folders(folder: Path, classes: tuple[str, ...]) -> list[Path]:
    """The folders in `folder` in the order of `classes`, or else of the alphabet. Raises ExportError."""
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".") if folder.is_dir() else []
    if len(folders) < 2:
        raise ExportError(f"{folder} needs a folder of images for each of at least two classes")
    names = tuple(path.name for path in folders)
    check_labels(names, ExportError)
    if classes and sorted(classes) != list(names):
        raise ExportError(
            f"--classes {','.join(classes)} are not the folders in {folder}, {', '.join(names)}: name each once"
        )
    return sorted(folders, key=lambda path: (classes or names).index(path.name))


def pretrain_folder(
    images: Path,
    output: Path,
    config: PretrainConfig,
    progress: Progress,
    size: tuple[int, ...] | None = None,
    solver: str | None = None,
    solver_weights: Path | None = None,
    stated: Stated | None = None,
    compare: tuple[str, Path] | None = None,
    order: tuple[str, ...] = (),
) -> Pretrained:
    """Pretrain on a folder and write `output`, which must not exist. `solver` is the user's factory or .onnx file.

    `stated` says how images become inputs; `compare` names the user's callable and photographs to compare that with.
    `order` names the classes in the order of the solver's outputs, which is the alphabet's otherwise.
    """
    if output.exists():
        raise ExportError(f"{output} exists already: remove it or choose another --output")
    inputs, labels, classes, how = read_historical(images, size, stated, order)
    compared = {"preprocessing": compare_with_callable(how, *compare)} if compare else {}
    return pretrain_arrays(
        inputs,
        labels,
        classes,
        how,
        output,
        config,
        progress,
        solver=solver,
        solver_weights=solver_weights,
        measured_before=compared,
    )


def pretrain_arrays(
    inputs: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    how: Preprocessing,
    output: Path,
    config: PretrainConfig,
    progress: Progress,
    solver: str | None = None,
    solver_weights: Path | None = None,
    measured_before: Mapping[str, Any] | None = None,
) -> Pretrained:
    """Pretrain on inputs (N, *S) and labels (N,) and write `output`."""
    torch.manual_seed(config.seed)
    low, high = input_range(how)
    usual = (low == -1).all() and (high == 1).all()
    factories = REFERENCE | ({} if usual else {"generator": RANGED}) | ({"solver": solver} if solver else {})
    shape = tuple(inputs.shape[1:])
    built = {name: build_network(factories[name], shape, len(classes)) for name in MODELS}
    if isinstance(built["generator"], RangedGenerator):
        for bound, values in ((built["generator"].low, low), (built["generator"].high, high)):
            bound.copy_(torch.from_numpy(values).reshape(-1, 1, 1))
    require_shape("solver", built["solver"], (torch.zeros(2, *shape),), (2, len(classes)))
    require_own_memory("solver", built["solver"])
    if isinstance(built["solver"], OnnxSolver):
        compare_with_file(built["solver"])
    if solver_weights is not None:
        load_weights(built["solver"], read_weights_file(solver_weights), solver_weights)
    trained = solver_weights is not None or is_onnx(factories["solver"])
    make_folder(output)
    networks = (built["solver"], built["generator"], built["discriminator"])
    try:
        built["generator"], measured = pretrain(
            networks,
            inputs,
            labels,
            config,
            progress,
            train_the_solver=not trained,
        )
        figures: dict[str, Any] = measured._asdict()
        described = Pretrained(
            classes, shape, how, factories, {}, figures | {"seed": config.seed} | dict(measured_before or {})
        )
        save_pretrained(output, built, described)
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise
    return replace(described, weights={name: output / f"{name}.safetensors" for name in MODELS})


def make_folder(folder: Path) -> None:
    """Make a new folder before hours of work that would end in it. Raises ExportError."""
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"cannot write {folder} ({error.strerror}): choose another --output") from error


def _preprocessing(image: np.ndarray, size: tuple[int, ...] | None, stated: Stated) -> Preprocessing:
    if size is None and stated.get("resize") not in {None, "exact"}:
        raise ExportError("--resize needs the size that images end in: give --size HEIGHT,WIDTH")
    if size is not None and len(size) != 2:
        raise ExportError(f"size {size} is not HEIGHT,WIDTH")
    grey = image.ndim == 2 or (np.ptp(image.astype(np.int16), axis=2) == 0).all()
    height, width = size or image.shape[:2]
    usual = Preprocessing(int(height), int(width), "grey" if grey else "rgb", resize="stretch" if size else "exact")
    return with_stated(usual, stated)

"""Reading the historical images and pretraining on them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from reverie.device_runtime.bundle import MODELS, Backbone
from reverie.device_runtime.errors import ExportError
from reverie.device_runtime.labels import check_labels
from reverie.device_runtime.preprocess import Preprocessing, image_files, image_to_input, read_image
from reverie.export.backbone import Front, cut_solver, feature_statistics
from reverie.export.factories import (
    build_network,
    fit_classifier,
    load_weights,
    read_weights_file,
    require_own_memory,
    require_shape,
)
from reverie.export.pretrain import PretrainConfig, Progress, pretrain
from reverie.export.pretrained import REFERENCE, REFERENCE_ON_FEATURES, Pretrained, save_pretrained

CHUNK = 16
"""Images that are held at a time while their features are computed."""


class Historical(NamedTuple):
    """Image files, the label (N,) of each, class names and the preprocessing that fits."""

    files: list[Path]
    labels: np.ndarray
    classes: tuple[str, ...]
    how: Preprocessing


def find_historical(folder: Path, size: tuple[int, ...] | None) -> Historical:
    """What `folder` holds, of which only the first image is read yet: grey if that is. Raises ExportError."""
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".") if folder.is_dir() else []
    if len(folders) < 2:
        raise ExportError(f"{folder} needs a folder of images for each of at least two classes")
    check_labels(tuple(path.name for path in folders), ExportError)
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
    how = _preprocessing(read_image(files[0]), size)
    return Historical(files, np.asarray(labels), tuple(p.name for p in folders), how)


def read_images(historical: Historical) -> Iterator[np.ndarray]:
    """Preprocessed images, CHUNK at a time. Raises ExportError where one is of another size than the first."""
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
            chunk.append(image_to_input(image, how, file))
        yield np.stack(chunk)


def read_historical(
    folder: Path, size: tuple[int, ...] | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...], Preprocessing]:
    """Inputs (N, C, H, W), labels (N,), class names and the preprocessing that fits. Raises ExportError.

    Grey if the first image is; all images must be of one size unless `size` (H, W) is given.
    """
    found = find_historical(folder, size)
    return np.concatenate(list(read_images(found))), found.labels, found.classes, found.how


def pretrain_folder(
    images: Path,
    output: Path,
    config: PretrainConfig,
    progress: Progress,
    size: tuple[int, ...] | None = None,
    solver: str | None = None,
    solver_weights: Path | None = None,
    backbone_until: str | None = None,
) -> Pretrained:
    """Pretrain on a folder and write `output`, which must not exist. `solver` is a factory of the user's own.

    With `backbone_until` it is cut before the module of that path, its front is frozen, and all else is on features.
    """
    if output.exists():
        raise ExportError(f"{output} exists already: remove it or choose another --output")
    if backbone_until is None:
        inputs, labels, classes, how = read_historical(images, size)
        return pretrain_arrays(
            inputs, labels, classes, how, output, config, progress, solver=solver, solver_weights=solver_weights
        )
    if solver is None:
        raise ExportError("--backbone-until cuts a solver of your own: give --solver too")
    return _pretrain_on_features(
        find_historical(images, size), output, config, progress, solver, solver_weights, backbone_until
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
) -> Pretrained:
    """Pretrain on inputs (N, *S) in [-1, 1] and labels (N,) and write `output`."""
    torch.manual_seed(config.seed)
    factories = REFERENCE | ({"solver": solver} if solver else {})
    shape = tuple(inputs.shape[1:])
    built = {name: build_network(factories[name], shape, len(classes)) for name in MODELS}
    require_shape("solver", built["solver"], (torch.zeros(2, *shape),), (2, len(classes)))
    require_own_memory("solver", built["solver"])
    if solver_weights is not None:
        load_weights(built["solver"], read_weights_file(solver_weights), solver_weights)
    described = Pretrained(classes, shape, how, factories, {})
    return _train_and_save(
        built, inputs, labels, described, output, config, progress, train_the_solver=solver_weights is None
    )


def _pretrain_on_features(
    historical: Historical,
    output: Path,
    config: PretrainConfig,
    progress: Progress,
    solver: str,
    solver_weights: Path | None,
    until: str,
) -> Pretrained:
    """Compute the features of all images once, and pretrain what is behind the cut on them."""
    torch.manual_seed(config.seed)
    factories = REFERENCE_ON_FEATURES | {"solver": solver}
    how, classes = historical.how, len(historical.classes)
    image_shape = (how.channels, how.height, how.width)
    whole = build_network(solver, image_shape, classes)
    require_own_memory("solver", whole)
    if solver_weights is not None:
        load_weights(whole, read_weights_file(solver_weights), solver_weights)
    has_new_head = fit_classifier(whole, image_shape, classes)
    front, _ = cut_solver(whole, Backbone(until), image_shape)
    features = _features(front, historical, progress)
    front, rest = cut_solver(whole, feature_statistics(until, features), image_shape)
    features -= np.asarray(front.described.mean, np.float32).reshape(-1, *[1] * (features.ndim - 2))
    features /= np.float32(front.described.scale)
    built = {name: build_network(factories[name], front.feature_shape, classes) for name in MODELS if name != "solver"}
    described = Pretrained(historical.classes, image_shape, how, factories, {}, front.described)
    return _train_and_save(
        built | {"solver": rest},
        features,
        historical.labels,
        described,
        output,
        config,
        progress,
        train_the_solver=solver_weights is None or has_new_head,
        whole=whole,
    )


def _features(front: Front, historical: Historical, progress: Progress) -> np.ndarray:
    """Features (N, *S) of all images, computed once; only CHUNK images are held at a time."""
    features = np.empty((len(historical.files), *front.feature_shape), np.float32)
    at = 0
    for images in read_images(historical):
        features[at : at + len(images)] = front.features(images)
        at += len(images)
        progress("features", at, len(features), None)
    return features


def _train_and_save(
    built: dict[str, nn.Module],
    inputs: np.ndarray,
    labels: np.ndarray,
    described: Pretrained,
    output: Path,
    config: PretrainConfig,
    progress: Progress,
    train_the_solver: bool,
    whole: nn.Module | None = None,
) -> Pretrained:
    """Train the networks on `inputs` and write them; of a solver that was cut from `whole`, all of that is written."""
    make_folder(output)
    try:
        networks = (built["solver"], built["generator"], built["discriminator"])
        generator, measured = pretrain(networks, inputs, labels, config, progress, train_the_solver)
        if whole is not None:
            whole.load_state_dict(built["solver"].state_dict(), strict=False)
        figures: dict[str, Any] = measured._asdict()
        described = replace(described, measured=figures | {"seed": config.seed})
        saved = {"generator": generator} | ({} if whole is None else {"solver": whole})
        save_pretrained(output, built | saved, described)
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


def _preprocessing(image: np.ndarray, size: tuple[int, ...] | None) -> Preprocessing:
    if size is not None and len(size) != 2:
        raise ExportError(f"size {size} is not HEIGHT,WIDTH")
    grey = image.ndim == 2 or (np.ptp(image.astype(np.int16), axis=2) == 0).all()
    height, width = size or image.shape[:2]
    return Preprocessing(int(height), int(width), "grey" if grey else "rgb", resize="stretch" if size else "exact")

"""From historical images to the folder of three trained networks, on the images or on the features of a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reverie.device_runtime.bundle.manifest import MODELS, Backbone
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.errors import ExportError
from reverie.export.from_onnx.solver import OnnxSolver, compare_with_file
from reverie.export.output import new_folder, require_new
from reverie.export.pretraining.historical import Historical, find_historical, read_images
from reverie.export.pretraining.networks import RangedGenerator
from reverie.export.pretraining.pretrained import RANGED, REFERENCE, REFERENCE_ON_FEATURES, Pretrained, save_pretrained
from reverie.export.pretraining.training import PretrainConfig, Progress, pretrain
from reverie.export.solvers.backbone import Front, cut_solver, feature_statistics
from reverie.export.solvers.factories import (
    build_network,
    fit_classifier,
    load_weights,
    read_weights_file,
    require_own_memory,
    require_shape,
)
from reverie.export.solvers.preprocessing import Stated, compare_with_callable, input_range


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
    backbone_until: str | None = None,
) -> Pretrained:
    """Pretrain on a folder and write `output`, which must not exist. `solver` is the user's factory or .onnx file.

    `stated` says how images become inputs; `compare` names the user's callable and photographs to compare that with.
    `order` names the classes in the order of the solver's outputs, which is the alphabet's otherwise. With
    `backbone_until` the solver is cut before the module of that path, its front is frozen, and all else is on features.
    """
    require_new(output)
    if backbone_until is not None and solver is None:
        raise ExportError("--backbone-until cuts a solver of your own: give --solver too")
    found = find_historical(images, size, stated, order)
    compared = {"preprocessing": compare_with_callable(found.how, *compare)} if compare else {}
    if backbone_until is not None and solver is not None:
        with new_folder(output) as work:
            done = _pretrain_on_features(
                found, work, config, progress, solver, solver_weights, backbone_until, compared
            )
        return _placed(done, output)
    return pretrain_arrays(
        np.concatenate(list(read_images(found))),
        found.labels,
        found.classes,
        found.how,
        output,
        config,
        progress,
        {"solver": solver} if solver else {},
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
    chosen: Mapping[str, str] | None = None,
    solver_weights: Path | None = None,
    measured_before: Mapping[str, Any] | None = None,
) -> Pretrained:
    """Pretrain on inputs (N, *S) and labels (N,) and write `output`.

    `chosen` are factories by model name, in the place of the reference networks.
    """
    torch.manual_seed(config.seed)
    low, high = input_range(how)
    usual = (low == -1).all() and (high == 1).all()
    factories = REFERENCE | ({} if usual else {"generator": RANGED}) | dict(chosen or {})
    shape = tuple(inputs.shape[1:])
    built = {name: build_network(factories[name], shape, len(classes)) for name in MODELS}
    if isinstance(built["generator"], RangedGenerator):
        for bound, values in ((built["generator"].low, low), (built["generator"].high, high)):
            bound.copy_(torch.from_numpy(values).reshape(-1, 1, 1))
    require_shape("solver", built["solver"], (torch.zeros(2, *shape),), (2, len(classes)))
    trained = _take_weights(built["solver"], solver_weights, _given(solver_weights))
    described = Pretrained(classes, shape, how, factories, {}, measured=measured_before or {})
    with new_folder(output) as work:
        done = _train_and_save(built, inputs, labels, described, work, config, progress, train_the_solver=not trained)
    return _placed(done, output)


def _pretrain_on_features(
    historical: Historical,
    output: Path,
    config: PretrainConfig,
    progress: Progress,
    solver: str,
    solver_weights: Path | None,
    until: str,
    measured_before: Mapping[str, Any],
) -> Pretrained:
    """Compute the features of all images once, and pretrain what is behind the cut on them."""
    torch.manual_seed(config.seed)
    factories = REFERENCE_ON_FEATURES | {"solver": solver}
    how, classes = historical.how, len(historical.classes)
    image_shape = (how.channels, how.height, how.width)
    whole = build_network(solver, image_shape, classes)
    weights = _given(solver_weights)
    has_new_head = _leave_out_the_head(whole, weights, until, image_shape)
    trained = _take_weights(whole, solver_weights, weights)
    has_new_head = fit_classifier(whole, image_shape, classes) or has_new_head
    front, _ = cut_solver(whole, Backbone(until), image_shape)
    features = _features(front, historical, progress)
    front, rest = cut_solver(whole, feature_statistics(until, features), image_shape)
    features -= np.asarray(front.described.mean, np.float32).reshape(-1, *[1] * (features.ndim - 2))
    features /= np.float32(front.described.scale)
    built = {name: build_network(factories[name], front.feature_shape, classes) for name in MODELS if name != "solver"}
    return _train_and_save(
        built | {"solver": rest},
        features,
        historical.labels,
        Pretrained(historical.classes, image_shape, how, factories, {}, front.described, measured_before),
        output,
        config,
        progress,
        train_the_solver=has_new_head or not trained,
        whole=whole,
    )


def _given(path: Path | None) -> dict[str, Tensor]:
    return {} if path is None else read_weights_file(path)


def _leave_out_the_head(whole: nn.Module, weights: dict[str, Tensor], until: str, image_shape: tuple[int, ...]) -> bool:
    """Put the fresh values of what is behind the cut in the place of `weights` for other classes; whether any were.

    What differs before the cut stays, to be refused.
    """
    own = whole.state_dict()
    other = {name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape}
    if not other:
        return False
    _, rest = cut_solver(whole, Backbone(until), image_shape)
    if not other <= rest.state_dict().keys():
        return False
    weights.update({name: own[name] for name in other})
    return True


def _take_weights(solver: nn.Module, path: Path | None, weights: dict[str, Tensor]) -> bool:
    """Load the `weights` of `path`, where one is given; whether the solver is trained, as a file is.

    Raises ExportError.
    """
    require_own_memory("solver", solver)
    if isinstance(solver, OnnxSolver):
        compare_with_file(solver)
    if path is not None:
        load_weights(solver, weights, path)
    return path is not None or isinstance(solver, OnnxSolver)


def _features(front: Front, historical: Historical, progress: Progress) -> np.ndarray:
    """Features (N, *S) of all images, computed once; only a chunk of images is held at a time."""
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
    """Train the networks and fill `output`; of a solver that was cut from `whole`, all of that is written."""
    networks = (built["solver"], built["generator"], built["discriminator"])
    generator, measured = pretrain(networks, inputs, labels, config, progress, train_the_solver)
    if whole is not None:
        whole.load_state_dict(built["solver"].state_dict(), strict=False)
    figures: dict[str, Any] = measured._asdict()
    described = replace(described, measured=figures | {"seed": config.seed} | dict(described.measured))
    saved = {"generator": generator} | ({} if whole is None else {"solver": whole})
    save_pretrained(output, built | saved, described)
    return described


def _placed(done: Pretrained, folder: Path) -> Pretrained:
    return replace(done, weights={name: folder / f"{name}.safetensors" for name in MODELS})

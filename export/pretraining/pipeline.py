"""From historical images to a folder to export: three networks on the images, or what is behind a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reverie.device_runtime.bundle.manifest import MODELS, STATISTICS
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.bundle.statistics import write_statistics
from reverie.device_runtime.errors import ExportError
from reverie.export.output import new_folder, require_new
from reverie.export.pretraining.given_weights import given_weights, take_weights
from reverie.export.pretraining.hidden import hidden_statistics
from reverie.export.pretraining.historical import find_historical, read_images
from reverie.export.pretraining.networks import RangedGenerator
from reverie.export.pretraining.on_features import STATISTICS_HEAD, Cut, pretrain_on_features
from reverie.export.pretraining.pretrained import RANGED, REFERENCE, Pretrained, save_pretrained
from reverie.export.pretraining.training import PretrainConfig, Progress, pretrain
from reverie.export.solvers.factories import build_network, require_shape
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
    head: str = STATISTICS_HEAD,
    quantise: bool = False,
) -> Pretrained:
    """Pretrain on a folder and write `output`, which must not exist. `solver` is the user's factory or .onnx file.

    `stated` says how images become inputs; `compare` names the user's callable and photographs to compare that with.
    `order` names the classes in the order of the solver's outputs, which is the alphabet's otherwise. With
    `backbone_until` the solver is cut before the module of that path, its front is frozen, and all else is on features;
    `head` says where one linear layer behind the cut comes from, see HEADS, and with `quantise` the front is in 8 bits.
    """
    require_new(output)
    if backbone_until is not None and solver is None:
        raise ExportError("--backbone-until cuts a solver of your own: give --solver too")
    if backbone_until is None and quantise:
        raise ExportError("--quantise is for a backbone: give --backbone-until too")
    found = find_historical(images, size, stated, order)
    compared: dict[str, Any] = {"preprocessing": compare_with_callable(found.how, *compare)} if compare else {}
    if found.passed_over:
        compared["passed_over"] = list(found.passed_over)
    if backbone_until is not None and solver is not None:
        with new_folder(output) as work:
            at = Cut(solver, solver_weights, backbone_until, head, quantise)
            done = pretrain_on_features(found, work, config, progress, at, compared)
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
    trained = take_weights(built["solver"], solver_weights, given_weights(solver_weights))
    described = Pretrained(classes, shape, how, factories, {}, measured=measured_before or {})
    with new_folder(output) as work:
        done = _train_and_save(built, inputs, labels, described, work, config, progress, train_the_solver=not trained)
    return _placed(done, output)


def _train_and_save(
    built: dict[str, nn.Module],
    inputs: np.ndarray,
    labels: np.ndarray,
    described: Pretrained,
    output: Path,
    config: PretrainConfig,
    progress: Progress,
    train_the_solver: bool,
) -> Pretrained:
    """Train the networks and fill `output`."""
    networks = (built["solver"], built["generator"], built["discriminator"])
    generator, measured = pretrain(networks, inputs, labels, config, progress, train_the_solver)
    figures: dict[str, Any] = measured._asdict()
    kept = hidden_statistics(built["solver"], inputs, labels)
    described = replace(
        described,
        measured=figures | {"seed": config.seed} | dict(described.measured),
        hidden_size=0 if kept is None else kept.means.shape[1],
    )
    beside = {} if kept is None else {STATISTICS: write_statistics(kept)}
    return save_pretrained(output, built | {"generator": generator}, described, beside)


def _placed(done: Pretrained, folder: Path) -> Pretrained:
    return replace(done, weights={name: folder / path.name for name, path in done.weights.items()})

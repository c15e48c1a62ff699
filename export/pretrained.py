"""The folder that `reverie pretrain` writes and `reverie export` reads: three sets of weights and how to load them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from reverie.device_runtime.bundle import MODELS
from reverie.device_runtime.errors import ExportError
from reverie.device_runtime.labels import check_labels
from reverie.device_runtime.preprocess import Preprocessing
from reverie.export.batch_statistics import train_statistics
from reverie.export.exporter import Networks
from reverie.export.factories import (
    build_network,
    is_onnx,
    load_weights,
    read_weights_file,
    require_own_memory,
    require_same_for_known,
    takes_classes,
    widen_classifier,
    with_code,
)
from reverie.export.onnx_solver import BATCHES as FILE_BATCHES
from reverie.export.onnx_solver import OnnxSolver, compare_with_file
from reverie.export.parity import figures
from reverie.export.preprocessing import Stated, with_stated

REFERENCE = {
    "solver": "reverie.export.networks:ReferenceSolver",
    "generator": "reverie.export.networks:ReferenceGenerator",
    "discriminator": "reverie.export.networks:ReferenceDiscriminator",
}
RANGED = "reverie.export.networks:RangedGenerator"
DESCRIPTION = "pretrained.json"


@dataclass(frozen=True)
class Pretrained:
    """Where networks come from: factory and weights file by model name, and what they were trained for."""

    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    preprocessing: Preprocessing
    factories: Mapping[str, str]
    weights: Mapping[str, Path]
    measured: Mapping[str, Any] = field(default_factory=dict)


def save_pretrained(folder: Path, networks: Mapping[str, nn.Module], described: Pretrained) -> None:
    """Write weights as safetensors and the description into the empty `folder`."""
    for name in MODELS:
        safetensors.torch.save_file(networks[name].state_dict(), folder / f"{name}.safetensors")
    values = dataclasses.asdict(described) | {"weights": {name: f"{name}.safetensors" for name in MODELS}}
    for name, factory in described.factories.items():
        if is_onnx(factory):
            shutil.copyfile(factory, folder / f"{name}.onnx")
            values["factories"][name] = f"{name}.onnx"
    (folder / DESCRIPTION).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_pretrained(folder: Path) -> Pretrained:
    """What `save_pretrained` wrote. Raises ExportError."""
    try:
        values = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return Pretrained(
            classes=tuple(values["classes"]),
            input_shape=tuple(values["input_shape"]),
            preprocessing=Preprocessing.from_json(values["preprocessing"]),
            factories={
                name: str(folder / factory) if is_onnx(factory) else factory
                for name, factory in values["factories"].items()
            },
            weights={name: folder / values["weights"][name] for name in MODELS},
            measured=values["measured"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{folder} holds no pretrained models: make them with reverie pretrain") from error


def load_networks(
    pretrained: Pretrained, name: str, spare_classes: int, train: str = "all", batchnorm: str = "frozen"
) -> Networks:
    """Build the three networks with `spare_classes` more slots and fit the weights in. Raises ExportError.

    `train` says which parameters of the solver train on the device, see `trainable.select`; with `batchnorm` "train",
    its batch normalization uses the statistics of each batch.
    """
    check_labels(pretrained.classes, ExportError)
    known = len(pretrained.classes)
    slots = known + spare_classes
    built, compared = {}, {}
    for model in MODELS:
        factory, path = pretrained.factories[model], pretrained.weights[model]
        network = build_network(factory, pretrained.input_shape, slots)
        require_own_memory(model, network)
        if isinstance(network, OnnxSolver):
            compared["the given .onnx file"] = figures(compare_with_file(network), FILE_BATCHES)
        grows = takes_classes(factory)
        weights = network.state_dict() if is_onnx(str(path)) else read_weights_file(path)
        load_weights(network, weights, path, known, slots if grows else known)
        if grows and spare_classes:
            narrow = build_network(factory, pretrained.input_shape, known)
            load_weights(narrow, weights, path)
            require_same_for_known(model, narrow, network, pretrained.input_shape, known, slots)
        if model == "solver" and not grows:
            widen_classifier(network, pretrained.input_shape, known, slots)
        if model == "solver" and batchnorm == "train":
            if isinstance(network, OnnxSolver):
                raise ExportError("--batchnorm train needs the solver as a torch module: a file keeps its statistics")
            train_statistics(network)
        built[model] = network if model == "solver" else with_code(network)
    return Networks(
        solver=built["solver"],
        generator=built["generator"],
        discriminator=built["discriminator"],
        name=name,
        classes=pretrained.classes,
        slots=slots,
        input_shape=pretrained.input_shape,
        preprocessing=pretrained.preprocessing,
        train=train,
        measured=dict(pretrained.measured),
        compared=compared,
    )


def merge_own(
    folder: Path | None,
    own: Mapping[str, Any],
    classes: tuple[str, ...],
    input_shape: tuple[int, ...] | None,
    stated: Stated | None = None,
) -> Pretrained:
    """What `folder` holds, with the user's own factories and weights in place of its own. Raises ExportError.

    `own` maps "solver", "solver_weights" and so on to what was given, or None. `stated` says how images become inputs.
    """
    for model in MODELS:
        holds_weights = model == "solver" and is_onnx(str(own.get(model)))
        if not holds_weights and (own.get(model) is None) != (own.get(f"{model}_weights") is None):
            raise ExportError(f"--{model} and --{model}-weights go together: give both")
    factories = {model: str(own[model]) for model in MODELS if own.get(model)}
    files = [model for model in factories if model != "solver" and is_onnx(factories[model])]
    if files:
        raise ExportError(f"--{files[0]} is a file: only a solver can be given in ONNX format, write a factory")
    weights = {model: Path(own.get(f"{model}_weights") or factories[model]) for model in factories}
    if folder is not None and any(value is not None for value in (stated or {}).values()):
        raise ExportError(f"{folder} was trained with a preprocessing of its own: state it to reverie pretrain")
    if folder is not None:
        base = read_pretrained(folder)
        return dataclasses.replace(
            base,
            classes=classes or base.classes,
            factories={**base.factories, **factories},
            weights={**base.weights, **weights},
        )
    missing = [f"--{model}" for model in MODELS if model not in factories]
    missing += [] if classes else ["--classes"]
    missing += [] if input_shape else ["--input-shape"]
    if missing or input_shape is None:
        raise ExportError(f"give a folder that reverie pretrain wrote, or also {', '.join(missing)}")
    if len(input_shape) != 3 or input_shape[0] not in {1, 3}:
        raise ExportError(f"input shape {input_shape} is not channels,height,width with 1 or 3 channels")
    how = Preprocessing(input_shape[1], input_shape[2], "grey" if input_shape[0] == 1 else "rgb", "stretch")
    return Pretrained(classes, input_shape, with_stated(how, stated or {}), factories, weights)

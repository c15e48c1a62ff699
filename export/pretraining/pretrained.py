"""The folder that `reverie pretrain` writes and `reverie export` reads: weights, statistics, and how to load both."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from reverie.device_runtime.bundle.gaussians import Gaussians
from reverie.device_runtime.bundle.labels import check_labels
from reverie.device_runtime.bundle.manifest import (
    BACKBONE,
    MODELS,
    STATISTICS,
    Backbone,
    Statistics,
)
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.bundle.statistics import ClassStatistics, read_statistics
from reverie.device_runtime.errors import BundleError, ExportError
from reverie.device_runtime.method.closed_form import linear_layer
from reverie.export.from_onnx.solver import BATCHES as FILE_BATCHES
from reverie.export.from_onnx.solver import OnnxSolver, compare_with_file
from reverie.export.graphs.parity import figures
from reverie.export.networks import Networks
from reverie.export.pretraining.class_gaussians import gaussians_beside
from reverie.export.pretraining.training import Measured
from reverie.export.solvers.backbone import cut_solver, front_for_statistics
from reverie.export.solvers.batch_statistics import train_statistics, train_traced_statistics
from reverie.export.solvers.factories import (
    build_network,
    fit_classifier,
    is_onnx,
    load_weights,
    read_weights_file,
    require_own_memory,
    require_same_for_known,
    takes_classes,
    widen_classifier,
    with_code,
)
from reverie.export.solvers.last_layer import LastLayer, last_layer, with_statistics
from reverie.export.solvers.linear_head import linear_head
from reverie.export.solvers.preprocessing import Stated, with_stated

REFERENCE = {
    "solver": "reverie.export.pretraining.networks:ReferenceSolver",
    "generator": "reverie.export.pretraining.networks:ReferenceGenerator",
    "discriminator": "reverie.export.pretraining.networks:ReferenceDiscriminator",
}
RANGED = "reverie.export.pretraining.networks:RangedGenerator"
DESCRIPTION = "pretrained.json"
OF_NETWORKS = Measured._fields
"""Figures that say nothing of other networks than those that were measured."""


@dataclass(frozen=True)
class Pretrained:
    """Where networks come from: factory and weights file by model name, and what they were trained for.

    `input_shape` is what the solver takes as its provider made it. Where that is cut by `backbone`, generator and
    discriminator are on its features, or `statistics` or `gaussians` of the classes in these take their place.
    """

    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    preprocessing: Preprocessing
    factories: Mapping[str, str]
    weights: Mapping[str, Path]
    backbone: Backbone | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)
    statistics: Statistics | None = None
    quantised: bool = False
    """Whether the backbone lies beside the weights, in 8 bits."""
    hidden_size: int = 0
    """Values that enter the solver's last layer, of which class statistics lie beside the weights; 0: none do."""
    gaussians: Gaussians | None = None

    @property
    def has_generator(self) -> bool:
        """Whether there are weights of generator and discriminator."""
        return self.statistics is None and self.gaussians is None


def save_pretrained(
    folder: Path, networks: Mapping[str, nn.Module], described: Pretrained, kept: Mapping[str, bytes] | None = None
) -> Pretrained:
    """Write weights as safetensors, the files that are `kept` of classes, and the description into the empty `folder`.

    Returns all of that.
    """
    for name, network in networks.items():
        weights = {key: value.contiguous() for key, value in network.state_dict().items()}
        safetensors.torch.save_file(weights, folder / f"{name}.safetensors")
    weights_files = {name: f"{name}.safetensors" for name in networks}
    for name, content in (kept or {}).items():
        (folder / name).write_bytes(content)
    values = dataclasses.asdict(described) | {"weights": weights_files}
    for name, factory in described.factories.items():
        if is_onnx(factory):
            shutil.copyfile(factory, folder / f"{name}.onnx")
            values["factories"][name] = f"{name}.onnx"
    (folder / DESCRIPTION).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return dataclasses.replace(described, weights={name: folder / file for name, file in weights_files.items()})


def read_pretrained(folder: Path) -> Pretrained:
    """What `save_pretrained` wrote. Raises ExportError."""
    try:
        values = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        kept = Statistics.from_json(values["statistics"]) if values.get("statistics") else None
        gaussians = Gaussians.from_json(values["gaussians"]) if values.get("gaussians") else None
        models = MODELS if kept is None and gaussians is None else MODELS[:1]
        return Pretrained(
            classes=tuple(values["classes"]),
            input_shape=tuple(values["input_shape"]),
            preprocessing=Preprocessing.from_json(values["preprocessing"]),
            factories={
                name: str(folder / factory) if is_onnx(factory) else factory
                for name, factory in values["factories"].items()
            },
            weights={name: folder / values["weights"][name] for name in models},
            statistics=kept,
            gaussians=gaussians,
            quantised=bool(values.get("quantised")),
            hidden_size=int(values.get("hidden_size", 0)),
            backbone=Backbone.from_json(values["backbone"]) if values.get("backbone") else None,
            measured=values["measured"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{folder} holds no pretrained models: make them with reverie pretrain") from error


def load_networks(
    pretrained: Pretrained, name: str, spare_classes: int, train: str = "all", batchnorm: str = "frozen"
) -> Networks:
    """Build the networks with `spare_classes` more slots and fit the weights in. Raises ExportError.

    `train` says which parameters of the solver train on the device, see `trainable.select`; with `batchnorm` "train",
    its batch normalization uses the statistics of each batch.
    """
    check_labels(pretrained.classes, ExportError)
    slots = len(pretrained.classes) + spare_classes
    shape, front, compared = pretrained.input_shape, None, {}
    solver = build_network(pretrained.factories["solver"], shape, slots).requires_grad_()  # `train` says what trains
    if isinstance(solver, OnnxSolver):
        if batchnorm == "train":
            raise ExportError("--batchnorm train needs the solver as a torch module: a file keeps its statistics")
        compared["the given .onnx file"] = figures(compare_with_file(solver), FILE_BATCHES)
    _fit_weights(solver, "solver", pretrained, shape, slots)
    backbone, kept, drawn = pretrained.backbone, pretrained.statistics, pretrained.gaussians
    features = 0 if backbone is None else len(backbone.mean)
    statistics = None if kept is None else _read_statistics(pretrained, features, slots)
    if backbone is not None and statistics is not None and kept is not None:
        front = front_for_statistics(solver, backbone, shape)
        weight, bias = linear_layer(statistics, kept.epsilon)
        solver = linear_head(weight / kept.temperature, bias / kept.temperature)
    elif backbone is not None:
        front, solver = cut_solver(solver, backbone, shape)
    shape = shape if front is None else front.feature_shape
    if batchnorm == "train" and front is not None:
        train_traced_statistics(solver, front.whole)
    elif batchnorm == "train":
        train_statistics(solver)
    made: dict[str, nn.Module] = {}
    for model in MODELS[1:] if pretrained.has_generator else ():
        network = build_network(pretrained.factories[model], shape, slots).requires_grad_()
        _fit_weights(network, model, pretrained, shape, slots)
        made[model] = with_code(network)
    return Networks(
        solver=solver,
        generator=made.get("generator"),
        discriminator=made.get("discriminator"),
        name=name,
        classes=pretrained.classes,
        slots=slots,
        input_shape=shape,
        preprocessing=pretrained.preprocessing,
        front=front,
        train=train,
        measured=dict(pretrained.measured),
        compared=compared,
        statistics=statistics,
        kept=kept,
        drawn=drawn,
        gaussians=None
        if drawn is None
        else gaussians_beside(pretrained.weights["solver"], drawn, len(pretrained.classes), math.prod(shape), slots),
        last_layer=_last_layer(pretrained, solver, slots),
        backbone_file=pretrained.weights["solver"].with_name(BACKBONE) if pretrained.quantised else None,
    )


def _last_layer(pretrained: Pretrained, solver: nn.Module, slots: int) -> LastLayer | None:
    """That of `solver`, built for `slots` classes, with the statistics beside its weights. Raises ExportError."""
    path = last_layer(solver, pretrained.input_shape) if pretrained.hidden_size else None
    if path is None:
        return None
    return with_statistics(solver, path, _read_statistics(pretrained, pretrained.hidden_size, slots))


def _read_statistics(pretrained: Pretrained, features: int, slots: int) -> ClassStatistics:
    """Those of so many `features` beside the weights of `pretrained`, with `slots` for classes. Raises ExportError."""
    path = pretrained.weights["solver"].with_name(STATISTICS)
    try:
        found = read_statistics(path.read_bytes(), len(pretrained.classes), features, path)
    except (OSError, BundleError) as error:
        raise ExportError(f"{path} cannot be read ({error}): pretrain again") from error
    return found.with_slots(slots)


def _fit_weights(
    network: nn.Module, model: str, pretrained: Pretrained, input_shape: tuple[int, ...], slots: int
) -> None:
    """Fit the weights of one of the three into `network`, built for `slots` classes. Raises ExportError."""
    known = len(pretrained.classes)
    factory, path = pretrained.factories[model], pretrained.weights[model]
    require_own_memory(model, network)
    weights = network.state_dict() if is_onnx(str(path)) else read_weights_file(path)
    grows = takes_classes(factory)
    if model == "solver" and pretrained.backbone is not None and not grows:
        fit_classifier(network, input_shape, known)
    load_weights(network, weights, path, known, slots if grows else known)
    if grows and slots > known:
        narrow = build_network(factory, input_shape, known)
        load_weights(narrow, weights, path)
        require_same_for_known(model, narrow, network, input_shape, known, slots)
    if model == "solver" and not grows:
        widen_classifier(network, input_shape, known, slots)


def merge_own(
    folder: Path | None,
    own: Mapping[str, Any],
    classes: tuple[str, ...],
    input_shape: tuple[int, ...] | None,
    stated: Stated | None = None,
) -> Pretrained:
    """What `folder` holds, with the user's own factories and weights in place of its own. Raises ExportError.

    `own` maps "solver", "solver_weights" and so on to what was given, or None; "backbone_until" to where the solver is
    cut. `stated` says how images become inputs.
    """
    until = own.get("backbone_until")
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
        if until is not None:
            raise ExportError(
                f"{folder} is pretrained for its own inputs: give --backbone-until to reverie pretrain, or export "
                "three networks of your own with it"
            )
        if base.backbone is not None and ("solver" in factories or (factories and not base.has_generator)):
            kept = "statistics are of" if base.statistics else "Gaussians are of"
            kept = "generator makes" if base.has_generator else kept
            raise ExportError(
                f"the {kept} features of the solver in {folder}: give another --solver to reverie pretrain, or export "
                "three networks of your own"
            )
        return dataclasses.replace(
            base,
            classes=classes or base.classes,
            factories={**base.factories, **factories},
            weights={**base.weights, **weights},
            hidden_size=0 if "solver" in factories else base.hidden_size,
            measured={name: value for name, value in base.measured.items() if not factories or name not in OF_NETWORKS},
        )
    missing = [f"--{model}" for model in MODELS if model not in factories]
    missing += [] if classes else ["--classes"]
    missing += [] if input_shape else ["--input-shape"]
    if missing or input_shape is None:
        raise ExportError(f"give a folder that reverie pretrain wrote, or also {', '.join(missing)}")
    if len(input_shape) != 3 or input_shape[0] not in {1, 3}:
        raise ExportError(f"input shape {input_shape} is not channels,height,width with 1 or 3 channels")
    how = Preprocessing(input_shape[1], input_shape[2], "grey" if input_shape[0] == 1 else "rgb", "stretch")
    backbone = None if until is None else Backbone(str(until))
    return Pretrained(classes, input_shape, with_stated(how, stated or {}), factories, weights, backbone)

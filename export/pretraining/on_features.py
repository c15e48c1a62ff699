"""Pretraining behind a frozen backbone: on features that are computed once.

Where no more than one linear layer is behind the cut, it is solved from the statistics of the classes, and these are
all that a box needs. Anything else is trained, and a Gaussian of each class keeps the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reverie.device_runtime.bundle.gaussians import Gaussians, write_gaussians
from reverie.device_runtime.bundle.manifest import (
    BACKBONE,
    GAUSSIANS,
    MOST_FEATURES,
    STATISTICS,
    Backbone,
    Statistics,
)
from reverie.device_runtime.bundle.statistics import write_statistics
from reverie.device_runtime.errors import ExportError
from reverie.export.pretraining.class_gaussians import historical_gaussians
from reverie.export.pretraining.closed_form import choose_epsilon, clusters, held_out, historical_statistics, power_for
from reverie.export.pretraining.given_weights import given_weights, leave_out_the_head, take_weights
from reverie.export.pretraining.historical import Historical, read_images
from reverie.export.pretraining.known import learn_known_score
from reverie.export.pretraining.pretrained import Pretrained, save_pretrained
from reverie.export.pretraining.training import (
    PretrainConfig,
    Progress,
    divided,
    share_right,
    taken_for,
    train_solver,
)
from reverie.export.solvers.backbone import (
    Front,
    cut_solver,
    feature_statistics,
    front_for_statistics,
    powered,
)
from reverie.export.solvers.backbone_file import CALIBRATED, backbone_model, features_of, quantised
from reverie.export.solvers.factories import build_network, fit_classifier
from reverie.export.solvers.linear_head import is_linear_layer

STATISTICS_HEAD, GIVEN_HEAD = HEADS = ("statistics", "given")
"""Where the weights of one linear layer behind the cut come from: the historical images, or the provider."""


@dataclass(frozen=True)
class Cut:
    """A provider's model that is cut in two: its factory or .onnx file, its weights, and before which module."""

    solver: str
    weights: Path | None
    until: str
    head: str = STATISTICS_HEAD
    quantised: bool = False
    """Whether the backbone is written in 8 bits."""


def pretrain_on_features(
    historical: Historical,
    output: Path,
    config: PretrainConfig,
    progress: Progress,
    at: Cut,
    measured_before: Mapping[str, Any],
) -> Pretrained:
    """Pretrain what is behind the cut, and fill `output`. Raises ExportError, BundleError."""
    torch.manual_seed(config.seed)
    how, classes, labels = historical.how, len(historical.classes), historical.labels
    image_shape = (how.channels, how.height, how.width)
    whole = build_network(at.solver, image_shape, classes)
    weights = given_weights(at.weights)
    has_new_head = leave_out_the_head(whole, weights, at.until, image_shape)
    trained = take_weights(whole, at.weights, weights)
    has_new_head = fit_classifier(whole, image_shape, classes) or has_new_head
    front, rest = cut_solver(whole, Backbone(at.until), image_shape)
    features = _features(front, historical, progress)
    described = feature_statistics(at.until, features)
    done = Pretrained(
        historical.classes,
        image_shape,
        how,
        {"solver": at.solver},
        {},
        described,
        {"seed": config.seed} | dict(measured_before),
    )
    is_given = trained and not has_new_head
    linear = front.feature_count <= MOST_FEATURES and is_linear_layer(rest, front.feature_shape)
    if at.head == STATISTICS_HEAD and linear:
        heads = {GIVEN_HEAD: float((_taken(rest, features) == labels).mean())} if is_given else {}
        done = replace(done, measured={"heads": heads} | dict(done.measured))
        return _solved(done, at, features.reshape(len(features), -1), historical, whole, output)
    if at.quantised:
        raise ExportError("--quantise is for a backbone with one linear layer behind it, solved from statistics")

    power = power_for(features)
    kept = historical_gaussians(powered(features, power), labels, historical.classes)
    front, rest = cut_solver(whole, described, image_shape)
    features = _standardised(features, described)
    train, validation = divided(features, labels, config)
    if not is_given:
        train_solver(rest, *train, config, progress)
    right, of_each = share_right(rest, *validation)
    whole.load_state_dict(rest.state_dict(), strict=False)
    figures = {"validation_accuracy": right, "class_accuracy": of_each} | dict(done.measured)
    done = replace(done, gaussians=Gaussians(kept.rank, power), measured=figures)
    return save_pretrained(output, {"solver": whole}, done, {GAUSSIANS: write_gaussians(kept)})


def _solved(
    described: Pretrained,
    at: Cut,
    features: np.ndarray,
    historical: Historical,
    whole: nn.Module,
    output: Path,
) -> Pretrained:
    """Fill `output` with the statistics of `features` (N, D). Raises ExportError, BundleError."""
    labels = historical.labels
    power = power_for(features)
    backbone = feature_statistics(at.until, powered(features, power), power)
    inputs = _standardised(powered(features, power), backbone)
    measured = dict(described.measured)
    if at.quantised:
        inputs, measured["quantised"] = _quantised(whole, backbone, described, historical, inputs, output)
    kept = historical_statistics(inputs, labels, described.classes)
    epsilon = choose_epsilon(inputs, labels)
    fold = clusters(inputs, labels)
    seen = held_out(inputs, labels, fold, epsilon)
    how = Statistics(epsilon, seen.temperature)
    right = float(seen.right.mean())
    measured |= {
        "validation_accuracy": right,
        "class_accuracy": seen.of_each(),
        "heads": {STATISTICS_HEAD: right} | measured["heads"],
        "power": power,
    }
    done = replace(
        described,
        backbone=backbone,
        statistics=replace(how, known=learn_known_score(inputs, labels, fold, how)),
        quantised=at.quantised,
        measured=measured,
    )
    return save_pretrained(output, {"solver": whole}, done, {STATISTICS: write_statistics(kept)})


def _quantised(
    whole: nn.Module,
    backbone: Backbone,
    described: Pretrained,
    historical: Historical,
    inputs: np.ndarray,
    output: Path,
) -> tuple[np.ndarray, dict[str, float]]:
    """The inputs (N, D) that the backbone makes in 8 bits, and how far they are from `inputs`, in 32; it is written."""
    front = front_for_statistics(whole, backbone, described.input_shape)
    chosen = np.linspace(0, len(historical.files) - 1, min(CALIBRATED, len(historical.files))).astype(int)
    some = historical._replace(files=[historical.files[row] for row in chosen], labels=historical.labels[chosen])
    content = quantised(backbone_model(front), read_images(some))
    (output / BACKBONE).write_bytes(content)
    small = features_of(content, read_images(historical))
    return small, {"difference": float(np.sqrt(np.square(small - inputs).mean()))}


def _standardised(features: np.ndarray, described: Backbone) -> np.ndarray:
    """With mean 0 and, over all channels, variance 1, as the backbone of a bundle makes them."""
    centred = features - np.asarray(described.mean, np.float32).reshape(-1, *[1] * (features.ndim - 2))
    return np.asarray(centred / np.float32(described.scale))


def _taken(rest: nn.Module, features: np.ndarray) -> np.ndarray:
    """The class (N,) that the provider's own head takes each of the features for."""
    return taken_for(rest, torch.from_numpy(features)).numpy()


def _features(front: Front, historical: Historical, progress: Progress) -> np.ndarray:
    """Features (N, *S) of all images, computed once; only a chunk of images is held at a time."""
    features = np.empty((len(historical.files), *front.feature_shape), np.float32)
    at = 0
    for images in read_images(historical):
        features[at : at + len(images)] = front.features(images)
        at += len(images)
        progress("features", at, len(features), None)
    return features

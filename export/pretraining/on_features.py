"""Pretraining behind a frozen backbone: on features that are computed once.

Where no more than one linear layer is behind the cut, it is solved from the statistics of the classes, and these are
all that a box needs. Anything else is trained, and a GAN learns the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reverie.device_runtime.bundle.manifest import MOST_FEATURES, Backbone, Statistics
from reverie.export.pretraining.closed_form import choose_epsilon, clusters, held_out, historical_statistics, power_for
from reverie.export.pretraining.given_weights import given_weights, leave_out_the_head, take_weights
from reverie.export.pretraining.historical import Historical, read_images
from reverie.export.pretraining.pretrained import REFERENCE_ON_FEATURES, Pretrained, save_pretrained
from reverie.export.pretraining.training import PretrainConfig, Progress, pretrain, taken_for
from reverie.export.solvers.backbone import Front, cut_solver, feature_statistics, powered
from reverie.export.solvers.factories import build_network, fit_classifier
from reverie.export.solvers.linear_head import is_linear_layer

STATISTICS_HEAD, GIVEN_HEAD = HEADS = ("statistics", "given")
"""Where the weights of one linear layer behind the cut come from: the historical images, or the provider."""


def pretrain_on_features(
    historical: Historical,
    output: Path,
    config: PretrainConfig,
    progress: Progress,
    solver: str,
    solver_weights: Path | None,
    until: str,
    head: str,
    measured_before: Mapping[str, Any],
) -> Pretrained:
    """Pretrain what is behind the cut before the module `until` of `solver`, and fill `output`. Raises ExportError."""
    torch.manual_seed(config.seed)
    how, classes, labels = historical.how, len(historical.classes), historical.labels
    image_shape = (how.channels, how.height, how.width)
    whole = build_network(solver, image_shape, classes)
    weights = given_weights(solver_weights)
    has_new_head = leave_out_the_head(whole, weights, until, image_shape)
    trained = take_weights(whole, solver_weights, weights)
    has_new_head = fit_classifier(whole, image_shape, classes) or has_new_head
    front, rest = cut_solver(whole, Backbone(until), image_shape)
    features = _features(front, historical, progress)
    described = feature_statistics(until, features)
    done = Pretrained(
        historical.classes,
        image_shape,
        how,
        {"solver": solver},
        {},
        described,
        {"seed": config.seed} | dict(measured_before),
    )
    is_given = trained and not has_new_head
    if head == STATISTICS_HEAD and front.feature_count <= MOST_FEATURES and is_linear_layer(rest, front.feature_shape):
        given = float((_taken(rest, features) == labels).mean()) if is_given else None
        return _solved(done, until, features.reshape(len(features), -1), labels, whole, output, given)

    front, rest = cut_solver(whole, described, image_shape)
    features = _standardised(features, described)
    built = {
        name: build_network(REFERENCE_ON_FEATURES[name], front.feature_shape, classes)
        for name in ("generator", "discriminator")
    }
    networks = (rest, built["generator"], built["discriminator"])
    generator, measured = pretrain(networks, features, labels, config, progress, not is_given)
    whole.load_state_dict(rest.state_dict(), strict=False)
    done = replace(
        done,
        factories=REFERENCE_ON_FEATURES | dict(done.factories),
        measured=measured._asdict() | dict(done.measured),
    )
    return save_pretrained(output, built | {"generator": generator, "solver": whole}, done)


def _solved(
    described: Pretrained,
    until: str,
    features: np.ndarray,
    labels: np.ndarray,
    whole: nn.Module,
    output: Path,
    given: float | None,
) -> Pretrained:
    """Fill `output` with the statistics of `features` (N, D); `given` is how many the provider's own head recognises.

    Raises ExportError, BundleError.
    """
    power = power_for(features)
    lifted = powered(features, power)
    backbone = feature_statistics(until, lifted, power)
    inputs = _standardised(lifted, backbone)
    kept = historical_statistics(inputs, labels, described.classes)
    epsilon = choose_epsilon(inputs, labels)
    seen = held_out(inputs, labels, clusters(inputs, labels), epsilon)
    right = float(seen.right.mean())
    measured = {
        "validation_accuracy": right,
        "class_accuracy": seen.of_each(),
        "heads": {STATISTICS_HEAD: right} | ({} if given is None else {GIVEN_HEAD: given}),
    }
    done = replace(
        described,
        backbone=backbone,
        statistics=Statistics(epsilon, seen.temperature),
        measured=measured | dict(described.measured),
    )
    return save_pretrained(output, {"solver": whole}, done, kept)


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

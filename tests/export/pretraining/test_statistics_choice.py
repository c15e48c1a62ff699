"""What of a solver that follows from statistics is chosen on the historical images."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.device_runtime.bundle.statistics import LEAST_IMAGES
from reverie.device_runtime.errors import ExportError
from reverie.export.pretraining import closed_form
from reverie.export.pretraining.closed_form import (
    FOLDS,
    HeldOut,
    choose_epsilon,
    clusters,
    held_out,
    historical_statistics,
    power_for,
)
from reverie.export.solvers.backbone import powered


def bursts(classes, scenes, shots, features=40, seed=0):
    """Features of `classes`, each in some scenes of which there are several shots that hardly differ."""
    rng = np.random.default_rng(seed)
    means = rng.normal(3, 0.4, (classes, 1, 1, features))
    scene = rng.normal(0, 1, (classes, scenes, 1, features))
    shot = rng.normal(0, 0.01, (classes, scenes, shots, features))
    labels = np.repeat(np.arange(classes), scenes * shots)
    return (means + scene + shot).reshape(-1, features).astype(np.float32), labels


def test_shots_of_one_scene_are_held_out_together():
    inputs, labels = bursts(3, FOLDS, 6)
    fold = clusters(inputs, labels).reshape(3, FOLDS, 6)
    assert (fold == fold[:, :, :1]).all()
    assert all(sorted(of_class[:, 0]) == list(range(FOLDS)) for of_class in fold)


def test_accuracy_is_that_on_scenes_that_were_not_learnt():
    """Shots of a scene are told by its other shots, whatever class they are of."""
    inputs, labels = bursts(4, FOLDS, 8)
    labels = labels.reshape(4, FOLDS, 8)[:, ::-1].reshape(-1)
    random = np.random.default_rng(0).integers(FOLDS, size=len(labels))
    apart = held_out(inputs, labels, clusters(inputs, labels), 0.2).right.mean()
    assert held_out(inputs, labels, random, 0.2).right.mean() > apart + 0.1


def test_a_class_of_one_scene_is_not_recognised_where_that_is_held_out():
    inputs, labels = bursts(3, FOLDS, 6)
    fold = np.where(labels == 2, 0, np.arange(len(labels)) % FOLDS)
    seen = held_out(inputs, labels, fold, 0.2)
    assert np.isneginf(seen.logits[labels == 2, 2]).all()
    assert seen.of_each()[2] == 0
    assert np.isfinite(seen.temperature)


def test_a_covariance_of_few_images_with_many_features_is_shrunk(monkeypatch):
    monkeypatch.setattr(closed_form, "EPSILONS", (1e-6, 0.3))
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    inputs = 0.4 * rng.normal(size=(3, 70))[labels] + rng.normal(size=(90, 70))
    assert choose_epsilon(inputs, labels) == 0.3
    monkeypatch.setattr(closed_form, "EPSILONS", (0.3, 0.3 + 1e-9))
    assert choose_epsilon(inputs, labels) == 0.3


def test_a_shrinkage_that_hides_which_direction_tells_classes_apart_is_not_chosen(monkeypatch):
    """The classes differ a little in what hardly varies."""
    monkeypatch.setattr(closed_form, "EPSILONS", (0.0001, 0.5, 0.9))
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    inputs = np.stack([rng.normal(0, 10, 400), 0.3 * labels + rng.normal(0, 0.05, 400)], axis=1)
    inputs[:, 0] += labels
    assert choose_epsilon(inputs, labels) == 0.0001


def test_a_root_is_taken_unless_many_features_are_negative():
    features = np.abs(np.random.default_rng(0).normal(size=(50, 8)))
    assert power_for(features) == 0.5
    features[:, 0] *= -0.3  # as of SiLU, which is never far below 0
    assert power_for(features) == 0.5
    features[:, :4] *= -1
    assert power_for(features) == 1.0
    assert powered(np.array([-4.0, 9.0]), 0.5).tolist() == [-2.0, 3.0]


def test_probabilities_promise_no_more_than_what_is_held_out_keeps():
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 3
    inputs = rng.normal(size=(3, 5))[labels] * 0.5 + rng.normal(size=(3000, 5))
    seen = held_out(inputs, labels, np.arange(3000) // 3 % FOLDS, 0.01)
    assert 0.9 < seen.temperature < 1.2  # of Gaussians, 1
    scaled = np.exp(seen.logits / seen.temperature)
    sure = (scaled / scaled.sum(axis=1, keepdims=True)).max(axis=1)
    assert sure.mean() == pytest.approx(seen.right.mean(), abs=0.03)
    overconfident = HeldOut(50 * seen.logits, labels)
    assert overconfident.temperature == pytest.approx(50 * seen.temperature, rel=0.15)


def test_a_class_of_too_few_images_is_named():
    labels = np.repeat([0, 1], [20, LEAST_IMAGES - 1])
    with pytest.raises(ExportError, match=f"bolt has {LEAST_IMAGES - 1} images: at least {LEAST_IMAGES} are needed"):
        historical_statistics(np.zeros((len(labels), 3), np.float32), labels, ("nut", "bolt"))

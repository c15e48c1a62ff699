"""The exported input-gradient graphs: loss values against the formulas in numpy, gradients against differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reverie.device_runtime.config import LOSSES
from reverie.device_runtime.method.models import one_hot, softened
from reverie.device_runtime.method.replay import draw_noise, generate

ALPHA, TV, PULL, PRIOR = 0.7, 0.3, 0.2, 0.01
REFERENCES = np.array([0, 1, 2, 3, 4, 0, 1, 2])  # three known classes and two new ones


@pytest.fixture(scope="module")
def trained(grown):
    """A second solver: the pretrained one, disturbed enough that the two disagree on some inputs."""
    rng = np.random.default_rng(1)
    disturbed = {n: w * (1 + 0.8 * rng.standard_normal(w.shape)).astype(np.float32) for n, w in grown.solver.items()}
    return grown.with_solver(disturbed)


@pytest.fixture(scope="module")
def search(models, trained):
    """search → the graph, its source's name, a value to differentiate at and all other inputs."""

    def make(name):
        rng = np.random.default_rng(5)  # inputs whose steepest slopes lie off the kinks of ReLU and pooling
        code = one_hot(REFERENCES, models.manifest.slots)
        noise, _ = draw_noise(models, len(REFERENCES), rng, balance=True)
        start = 0.5 * rng.standard_normal((len(REFERENCES), *models.manifest.input_shape)).astype(np.float32)
        value = noise if name == "noise" else start + generate(models, noise, REFERENCES % 3)
        feeds = {"reference": code, "code": code, "start": start, "known": models.active, "active": trained.active}
        scalars = {"alpha": ALPHA, "tv": TV, "pull": PULL, "prior": PRIOR}
        feeds |= {key: np.asarray(number, np.float32) for key, number in scalars.items()}
        source = "noise" if name == "noise" else "input"
        return models.synthesis_graph(trained.solver, name), source, value.astype(np.float32), feeds

    return make


def choose(loss):
    return {"choose": one_hot(np.asarray(LOSSES.index(loss)), len(LOSSES))}


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def formula(loss, x, models, trained):
    """The loss of each input as the docstring of SynthesisLoss states it."""
    known = len(models.classes)
    old = models.solver_graph.run({"input": x})["logits"][:, :known].astype(np.float64)
    new = trained.solver_graph.run({"input": x})["logits"][:, : len(trained.classes)].astype(np.float64)
    rows, is_known = np.arange(len(x)), known > REFERENCES
    ce_old = np.where(is_known, -log_softmax(old)[rows, np.minimum(REFERENCES, known - 1)], 0)
    ce_new = -log_softmax(new)[rows, REFERENCES]
    p_old, p_new = softened(old, 3).astype(np.float64), softened(new[:, :known], 3).astype(np.float64)
    mean = (p_old + p_new) / 2
    js = (p_old * np.log(p_old / mean) + p_new * np.log(p_new / mean)).sum(axis=1) / 2
    agree = old.argmax(axis=1) == new.argmax(axis=1)
    return {
        "consensus": ce_old + ce_new,
        "competition": ce_old + ~is_known * ce_new + ALPHA * is_known * (1 - js / math.log(2)),
        "masked-kl": ce_old - ALPHA * agree * (p_old * np.log(p_old / p_new)).sum(axis=1),
        "new-only": ce_new,
        "interference": ce_old - np.minimum(ce_new, 4),
    }[loss]


def image_prior(x, start):
    down = np.abs(np.diff(x, axis=2)).mean(axis=(1, 2, 3))
    across = np.abs(np.diff(x, axis=3)).mean(axis=(1, 2, 3))
    return TV * (down + across) + PULL * ((x - start) ** 2).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["image", "noise"])
def test_the_graph_computes_the_loss_that_the_method_states(models, trained, search, name, loss):
    graph, source, value, feeds = search(name)
    each = graph.run(feeds | choose(loss) | {source: value})["each"]
    x = generate(models, value, REFERENCES) if name == "noise" else value
    prior = PRIOR * (value**2).sum(axis=1) if name == "noise" else image_prior(value, feeds["start"])
    np.testing.assert_allclose(each, formula(loss, x, models, trained) + prior, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["image", "noise"])
def test_the_gradient_is_the_slope_of_the_loss(search, name, loss):
    """Central differences at the three steepest coordinates of each input, and along the whole gradient."""
    graph, source, value, feeds = search(name)
    feeds |= choose(loss)
    gradient = graph.run(feeds | {source: value})[f"{source}_grad"].reshape(len(value), -1)
    assert np.abs(gradient).max(axis=1).min() > 1e-3

    def off_by(direction):
        """Relative error of each input's slope; a kink of a ReLU may lie within a step, so the best of five counts."""
        expected, errors = (gradient * direction).sum(axis=1), []
        for size in (4e-3, 2e-3, 1e-3, 5e-4, 2.5e-4):
            change = (size * direction).reshape(value.shape)
            ahead = graph.run(feeds | {source: value + change})["each"].astype(np.float64)
            behind = graph.run(feeds | {source: value - change})["each"].astype(np.float64)
            errors.append(np.abs((ahead - behind) / (2 * size) / expected - 1))
        return np.min(errors, axis=0).max()

    assert off_by(gradient / np.linalg.norm(gradient, axis=1, keepdims=True)) < 1e-2
    for at in np.argsort(-np.abs(gradient), axis=1)[:, :3].T:
        assert off_by(np.eye(gradient.shape[1], dtype=np.float32)[at]) < 1e-2


@pytest.mark.parametrize("name", ["image", "noise"])
def test_the_two_solvers_disagree_on_some_of_these_inputs_and_agree_on_others(models, trained, search, name):
    """So that the masked term of masked-kl is tested on and off."""
    _, _, value, _ = search(name)
    x = generate(models, value, REFERENCES) if name == "noise" else value
    old, new = (m.solver_graph.run({"input": x})["logits"].argmax(axis=1) for m in (models, trained))
    assert 0 < (old == new).sum() < len(x)

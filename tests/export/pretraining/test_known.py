"""How a bundle learns to tell what no class is: with classes left out, on images that were held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reverie.device_runtime.bundle.manifest import Statistics
from reverie.device_runtime.method.closed_form import statistics_of
from reverie.device_runtime.method.novelty import novelty_of
from reverie.export.pretraining.closed_form import FOLDS
from reverie.export.pretraining.known import FALSE_ALARMS, learn_known_score, logistic_regression

HOW = Statistics(0.2)


def classes(count, images, seed, features=30):
    """Inputs of `count` classes, the same for a seed of the images that is another; of the first `count` of 20."""
    means = np.random.default_rng(99).normal(0, 1, (20, features))
    labels = np.repeat(np.arange(count), images)
    inputs = means[labels] + np.random.default_rng(seed).normal(0, 0.8, (len(labels), features))
    return inputs.astype(np.float32), labels


def test_images_of_classes_that_were_never_shown_are_told_from_others():
    inputs, labels = classes(12, 40, 0)
    score = learn_known_score(inputs, labels, np.arange(len(labels)) % FOLDS, HOW)
    novelty = novelty_of(statistics_of(inputs, labels, 12), HOW)
    tested, truth = classes(20, 60, 1)
    known = novelty.known(tested, score)
    assert (known[truth < 12] < score.threshold).mean() == pytest.approx(FALSE_ALARMS, abs=0.04)
    assert (known[truth >= 12] < score.threshold).mean() > 0.5
    assert known[truth < 12].mean() > 0.7
    assert known[truth >= 12].mean() < 0.5


def test_with_few_classes_nothing_is_learnt():
    inputs, labels = classes(3, 40, 0)
    assert learn_known_score(inputs, labels, np.arange(len(labels)) % FOLDS, HOW) is None


def test_the_regression_is_that_of_gradients():
    rng = np.random.default_rng(0)
    known = rng.random(400) < 0.8
    terms = rng.normal(0, [1, 100, 0.01, 5, 1], (400, 5)) + known[:, None] * [0.5, 80, 0, 1, -0.4]
    weights, bias = logistic_regression(terms, known)
    scale, middle = terms.std(axis=0), terms.mean(axis=0)
    free = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    design = torch.from_numpy((terms - middle) / scale)
    truth = torch.from_numpy(known.astype(np.float64))
    each = torch.where(truth > 0, 0.5 / truth.mean(), 0.5 / (1 - truth.mean()))
    optimizer = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def loss():
        optimizer.zero_grad()
        logits = design @ free[:5] + free[5]
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, each, reduction="sum")
        value = value + (free[:5] ** 2).sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    np.testing.assert_allclose(np.array(weights) * scale, free[:5].detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(bias + middle @ np.array(weights), free[5].item(), atol=1e-4)

"""The figures that tell whether an input is of a class that is known, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.device_runtime.bundle.manifest import KnownScore, Statistics
from reverie.device_runtime.method.closed_form import covariance, statistics_of
from reverie.device_runtime.method.novelty import novelty_of

CLASSES, FEATURES = 5, 12
HOW = Statistics(0.2)


@pytest.fixture(scope="module")
def kept():
    """Statistics of five classes, of which one has hardly any images, with a spare slot among them."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3, 4, 5], [40, 60, 5, 80, 50])
    means = rng.normal(0, 2, (6, FEATURES))
    spread = rng.normal(0, 1, (FEATURES, FEATURES))
    return statistics_of(means[labels] + rng.normal(size=(len(labels), FEATURES)) @ spread, labels, 7)


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(1).normal(0, 3, (40, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def direct(kept, inputs):
    """The five figures as they are defined, of whole matrices."""
    sigma = covariance(kept, HOW.epsilon)
    inverse = np.linalg.inv(sigma)
    means = kept.means[kept.used]
    middle = means.mean(axis=0)

    def distances(to, inverse):
        apart = inputs[:, None] - to[None]
        return np.einsum("ncd,de,nce->nc", apart, inverse, apart)

    to_middle, to_classes = distances(middle[None], inverse), distances(means, inverse)
    logits = np.sort((to_middle - to_classes) / 2, axis=1)
    values, vectors = np.linalg.eigh(inverse)
    whitening = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    subspace = np.linalg.svd(((means - middle) @ whitening).T, full_matrices=False)[0][:, : CLASSES - 1]
    here, there = ((x - middle) @ whitening @ subspace for x in (inputs, means))
    cosines = here @ there.T / np.linalg.norm(here, axis=1)[:, None] / np.linalg.norm(there, axis=1)
    as_one = distances(middle[None], np.linalg.inv(sigma + (means - middle).T @ (means - middle) / CLASSES))
    nearest = to_classes.min(axis=1)
    columns = (logits[:, -1], cosines.max(axis=1), as_one[:, 0] - nearest, logits[:, -1] - logits[:, -2], -nearest)
    return np.stack(columns, axis=1)


def test_the_figures_are_what_they_are_called(kept, inputs, direct):
    np.testing.assert_allclose(novelty_of(kept, HOW).terms(inputs), direct, rtol=1e-6, atol=1e-6)


def test_how_likely_a_class_is_known_weighs_the_figures(kept, inputs, direct):
    score = KnownScore((0.1, 2.0, 0.03, 0.0, 0.001), -1.0, 0.5)
    expected = 1 / (1 + np.exp(1.0 - direct @ np.array(score.weights)))
    np.testing.assert_allclose(novelty_of(kept, HOW).known(inputs, score), expected, rtol=1e-5)


def test_two_classes_are_enough_to_compare_with(inputs):
    labels = np.repeat([0, 1], 30)
    rng = np.random.default_rng(0)
    found = novelty_of(statistics_of(rng.normal(size=(60, FEATURES)) + labels[:, None], labels, 4), HOW).terms(inputs)
    assert np.isfinite(found).all()
    assert np.abs(found[:, 1]).max() <= 1 + 1e-6

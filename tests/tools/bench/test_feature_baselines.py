"""Baselines of one linear layer behind a backbone: they keep sums or Gaussians of the features, and no image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rich.console import Console

from reverie.device_runtime.bundle.preprocess import find_images
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import ReverieError
from reverie.device_runtime.home import store
from reverie.device_runtime.method.closed_form import statistics_of
from reverie.device_runtime.method.comparison import predict
from reverie.device_runtime.method.monitor import Monitor
from reverie.tools.bench import accuracy, baselines, closed_forms
from reverie.tools.bench.accuracy import ON_FEATURES, measure
from reverie.tools.bench.accuracy_start import Measured
from reverie.tools.bench.closed_forms import CLOSED_FORMS, ClosedForm
from reverie.tools.bench.gaussian import GaussianReplay, gaussian_of
from reverie.tools.bench.protocols import Protocol, Samples

NAMES = ("sandal", "t-shirt", "trouser", "bag", "sneaker")
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def measured(backbone_bundle, test_folder, frames_folder, tmp_path_factory):
    """Three known classes and an update for each of two others, on 64 features of the small bundle's backbone."""
    home = tmp_path_factory.mktemp("features") / "home"
    start = store.load_models(home, installation.install(backbone_bundle, home))
    make = InputMaker(start.folder, start.manifest)

    def samples(folder, slots, rows):
        parts = [find_images(folder / NAMES[slot])[rows] for slot in slots]
        return Samples(
            make.read([file for part in parts for file in part]), np.repeat(slots, [len(part) for part in parts])
        )

    updates = [samples(frames_folder, [slot], slice(None)) for slot in (3, 4)]
    tests = [samples(test_folder, slots, slice(10, None)) for slots in ([0, 1, 2], [3], [4])]
    history = samples(test_folder, [0, 1, 2], slice(10))
    steps = Protocol(history, updates, tests, start.manifest.slots, names=NAMES)
    return Measured("small", "product", 0, steps, start, home)


@pytest.fixture(autouse=True)
def few_random_features(monkeypatch):
    monkeypatch.setattr(closed_forms, "RANDOM_FEATURES", 300)
    monkeypatch.setattr(closed_forms, "STRENGTHS", (1e2,))


@pytest.fixture(scope="module")
def runs(measured):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closed_forms, "RANDOM_FEATURES", 300)
        return {run.form: run for run in measure(lambda _: measured, ("none", *ON_FEATURES), QUIET)}


def chain(form, measured):
    if form in CLOSED_FORMS:
        return ClosedForm(form, measured.start, measured.steps.history, 0)
    return GaussianReplay(measured.start, measured.steps.history)


def task(models, measured, number):
    now = baselines.task(models, measured.steps, number, UpdateConfig())
    return now._replace(schedule=dataclasses.replace(now.schedule, steps=20))


@pytest.mark.slow
@pytest.mark.parametrize("form", ON_FEATURES)
def test_new_classes_are_learnt_and_known_ones_kept(runs, form):
    assert runs[form].matrix[0] == runs["none"].matrix[0]
    assert [len(row) for row in runs[form].matrix] == [1, 2, 3]
    assert runs[form].overall(2) > 0.8 > runs["none"].overall(2)
    assert min(runs[form].matrix[2]) > 0.5
    assert runs[form].forgetting() < runs["none"].forgetting()
    assert len(runs[form].seconds) == len(runs[form].peak_bytes) == len(runs[form].confused) == 2


@pytest.mark.parametrize("form", CLOSED_FORMS)
def test_what_comes_in_updates_counts_as_what_was_there_before(measured, form):
    sums, models = chain(form, measured), measured.start
    for number in (1, 2):
        models = sums.train(task(models, measured, number), Monitor())
    parts = [measured.steps.history, *(task(measured.start, measured, number).live for number in (1, 2))]
    labels = np.concatenate([parts[0].labels, np.full(32, 3), np.full(32, 4)])
    at_once = ClosedForm(form, measured.start, Samples(np.concatenate([p.inputs[:] for p in parts]), labels), 0)
    for test in measured.steps.tests:
        np.testing.assert_array_equal(sums.answer(models, test.inputs), at_once.answer(models, test.inputs))


@pytest.mark.parametrize("form", ON_FEATURES)
def test_images_are_not_needed_once_they_were_learnt(measured, form):
    def learnt(forgets):
        steps = measured.steps._replace(
            history=Samples(*map(np.copy, measured.steps.history)),
            updates=[Samples(*map(np.copy, update)) for update in measured.steps.updates],
        )
        own = dataclasses.replace(measured, steps=steps)
        baseline = chain(form, own)
        models = baseline.train(task(own.start, own, 1), Monitor())
        if forgets:
            steps.history.inputs.fill(np.nan)
            steps.updates[0].inputs.fill(np.nan)
        models = baseline.train(task(models, own, 2), Monitor())
        answer = baseline.answer if form in CLOSED_FORMS else predict
        return [answer(models, test.inputs).tolist() for test in steps.tests]

    assert learnt(forgets=True) == learnt(forgets=False)


@pytest.mark.parametrize("form", ON_FEATURES)
def test_where_there_is_no_single_layer_behind_a_backbone_all_is_refused_before_anything_is_trained(
    models, measured, form, monkeypatch
):
    monkeypatch.setattr(accuracy, "_run", None)
    deeper = dataclasses.replace(measured.start, solver={**measured.start.solver, "hidden": np.ones((64, 64))})
    for start in (models, deeper):
        other = dataclasses.replace(measured, start=start)
        with pytest.raises(ReverieError, match=f"{form} is for one linear layer behind a backbone"):
            list(measure(lambda _, other=other: other, ("none", form), QUIET))


def test_the_root_is_of_the_features_as_the_model_makes_them(measured):
    described, inputs = measured.start.manifest.backbone, measured.steps.history.inputs
    lifted = closed_forms.root(measured.start, inputs, 0)(inputs)
    np.testing.assert_allclose(lifted**2, inputs * described.scale + described.mean, atol=1e-4)


def test_the_nearest_mean_is_the_nearest(measured):
    history, test = measured.steps.history, measured.steps.tests[0]
    means = np.stack([history.inputs[history.labels == slot].mean(axis=0) for slot in range(3)])
    nearest = np.linalg.norm(test.inputs[:, None] - means, axis=2).argmin(axis=1)
    found = ClosedForm("ncm", measured.start, history, 0).answer(measured.start, test.inputs)
    np.testing.assert_array_equal(found, nearest)


def features(counts, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    return rng.normal(0, 1, (len(labels), 6)) + labels[:, None], labels


def test_ridge_regression_from_sums_is_that_from_images():
    inputs, labels = features([30, 5, 12])
    targets = np.eye(4)[labels]
    expected = np.linalg.solve(inputs.T @ inputs + 7 * np.eye(6), inputs.T @ targets).T
    weight, bias = closed_forms.plain_ridge(7, statistics_of(inputs, labels, 4))
    np.testing.assert_allclose(weight, expected, atol=1e-9)
    assert not bias.any()


def test_balanced_ridge_is_ridge_with_a_free_bias_where_classes_are_of_one_size():
    inputs, labels = features([20, 20, 20])
    targets = np.eye(4)[labels]
    centred = inputs - inputs.mean(axis=0)
    expected = np.linalg.solve(centred.T @ centred + 7 * np.eye(6), centred.T @ (targets - targets.mean(axis=0))).T
    weight, bias = closed_forms.balanced_ridge(7, statistics_of(inputs, labels, 4))
    np.testing.assert_allclose(weight, expected, atol=1e-9)
    np.testing.assert_allclose(bias, targets.mean(axis=0) - expected @ inputs.mean(axis=0), atol=1e-9)


def test_a_class_of_many_images_gets_no_more_of_balanced_ridge():
    inputs, labels = features([400, 20])
    known = statistics_of(inputs, labels, 2)
    weight, bias = closed_forms.balanced_ridge(7, known)
    middle = known.means.mean(axis=0)
    np.testing.assert_allclose(weight @ middle + bias, [0.5, 0.5])


def test_a_gaussian_draws_what_its_class_was_like():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(10, 24)).astype(np.float32)
    inputs = rng.normal(size=(400, 10)).astype(np.float32) @ mixing + rng.normal(0, 0.5, (400, 24)).astype(np.float32)
    inputs += np.float32(5)
    kept = gaussian_of(inputs)
    assert kept.factors.shape == (16, 24)
    drawn = kept.draw(rng, 40_000)
    np.testing.assert_allclose(drawn.mean(axis=0), inputs.mean(axis=0), atol=0.1)
    covariance = np.cov(inputs.T)
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.05 * covariance.max())
    np.testing.assert_allclose(drawn.var(axis=0), covariance.diagonal(), rtol=0.05)


def test_a_gaussian_of_a_single_image_draws_that():
    image = np.arange(5, dtype=np.float32)[None]
    np.testing.assert_array_equal(gaussian_of(image).draw(np.random.default_rng(0), 3), image.repeat(3, axis=0))


def test_the_strength_is_that_with_the_smallest_error_on_what_was_left_out(measured, monkeypatch):
    """Of a class that has twenty times as many images, strong regression makes the answer to all."""
    history = measured.steps.history
    many = history.take(np.concatenate([np.tile(np.flatnonzero(history.labels == 0), 20), np.arange(10, 30)]))
    for strengths, found in (((1e30, 1e2), {0, 1, 2}), ((1e30,), {0})):
        monkeypatch.setattr(closed_forms, "STRENGTHS", strengths)
        assert {*ClosedForm("ranpac", measured.start, many, 1).answer(measured.start, history.inputs)} == found

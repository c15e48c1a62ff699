"""What the accuracy bench compares with: how much each baseline forgets, on images that are easy to learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.home import store
from reverie.device_runtime.method.models import softened
from reverie.device_runtime.method.monitor import Monitor
from reverie.export.exporter import export_bundle
from reverie.export.pretraining.pipeline import pretrain_arrays
from reverie.export.pretraining.pretrained import load_networks, read_pretrained
from reverie.export.pretraining.training import PretrainConfig
from reverie.tools.bench import baselines
from reverie.tools.bench.accuracy import _run
from reverie.tools.bench.accuracy_start import Measured
from reverie.tools.bench.protocols import MLP, Protocol, Samples
from reverie.tools.bench.regularised import Ewc, Lwf, _fisher

FORMS = ("none", "joint", "er", "lwf", "ewc")
STORED = 100


def quarters(count, classes, seed):
    """Images whose class is the bright quarter; classes from 4 on have a line at the bottom besides."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(classes)[np.arange(count) % len(classes)]
    inputs = rng.normal(-0.5, 0.2, (count, 1, 8, 8)).astype(np.float32)
    for image, label in zip(inputs, labels, strict=True):
        row, column = divmod(int(label) % 4, 2)
        image[0, 4 * row : 4 * row + 3, 4 * column : 4 * column + 4] += 1
        image[0, 7] += label >= 4
    return Samples(inputs, labels)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Four quarters are pretrained, two are learnt; the generator is hardly trained and not used."""
    folder = tmp_path_factory.mktemp("baselines")
    history, update = quarters(600, [0, 1, 2, 3], 0), quarters(60, [4, 5], 1)
    tests = [quarters(80, [0, 1, 2, 3], 2), quarters(40, [4, 5], 3)]
    steps = Protocol(history, [update], tests, 7, MLP)
    config = PretrainConfig(solver_epochs=20, gan_steps=5)
    pretrained = folder / "pretrained"
    names = ("0", "1", "2", "3")
    pretrain_arrays(
        *history, names, Preprocessing(8, 8, "grey"), pretrained, config, lambda *_: None, chosen={"solver": MLP}
    )
    networks = load_networks(read_pretrained(pretrained), "quarters", steps.slots - len(names))
    export_bundle(networks, folder / "bundle", lambda _: None)
    home = folder / "home"
    start = store.load_models(home, installation.install(folder / "bundle", home))
    return Measured("quarters", "two", 0, steps, start, pretrained)


@pytest.fixture(scope="module")
def run(measured):
    return {form: _run(form, measured) for form in FORMS}


@pytest.mark.parametrize("form", FORMS)
def test_every_baseline_begins_with_the_same_solver(run, form):
    assert run[form].matrix[0] == run["none"].matrix[0]
    assert run[form].matrix[0][0] > 0.95
    assert [len(row) for row in run[form].matrix] == [1, 2]
    assert run[form].weights == [80, 40]
    assert len(run[form].seconds) == len(run[form].peak_bytes) == len(run[form].confused) == 1
    assert 0 < run[form].steps[0] <= 900


@pytest.mark.parametrize("form", FORMS)
def test_accuracy_by_class_is_that_after_the_last_update(run, form):
    by_class = run[form].by_class
    assert [np.mean(by_class[:4]), np.mean(by_class[4:])] == pytest.approx(run[form].matrix[-1])


@pytest.mark.parametrize("form", FORMS)
def test_new_classes_are_learnt(run, form):
    assert run[form].matrix[1][1] > 0.95


def test_live_images_alone_forget_and_old_images_beside_them_do_not(run):
    assert run["none"].forgetting() > 0.3
    for form in ("joint", "er"):
        assert run[form].forgetting() < 0.1


def test_learning_without_forgetting_keeps_what_the_live_images_were_taken_for_among_the_known_classes(measured):
    now = baselines.task(measured.start, measured.steps, 1, UpdateConfig())
    now = now._replace(schedule=dataclasses.replace(now.schedule, steps=60))
    trained = Lwf(measured.pretrained, 3).train(now, Monitor())
    plain = baselines.train("none", now, Monitor())

    def answers(models):
        logits = models.solver_graph.run({"input": now.live.inputs[:]})["logits"][:, :4]
        return softened(logits, 2.0)

    before = answers(measured.start)
    assert np.abs(answers(trained) - before).mean() < 0.5 * np.abs(answers(plain) - before).mean()


def test_weights_that_matter_stay_the_nearer_the_stronger_they_are_held(measured):
    def moved(strength):
        now = baselines.task(measured.start, measured.steps, 1, UpdateConfig())
        now = now._replace(schedule=dataclasses.replace(now.schedule, steps=60))
        trained = Ewc(measured.pretrained, 3, strength).train(now, Monitor()).solver
        return sum(float(((trained[name] - value) ** 2).sum()) for name, value in measured.start.solver.items())

    none, some, most = (moved(strength) for strength in (0.0, 1e4, 1e8))
    assert none > some > most


def test_the_fisher_information_of_a_softmax_regression_is_that_of_its_formula():
    torch.manual_seed(0)
    solver, inputs = nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), torch.randn(5, 1, 2, 3)
    fisher = _fisher(solver, inputs, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    probabilities = torch.softmax(solver(inputs)[:, :3], dim=1)
    varying = probabilities * (1 - probabilities)  # of Σ_y p(y) ([y = c] - p(c))²
    expected = torch.zeros(4, 6)
    expected[:3] = (varying.T[:, None] * inputs.flatten(1).T ** 2).mean(dim=2)
    torch.testing.assert_close(fisher["1.weight"], expected)
    torch.testing.assert_close(fisher["1.bias"][:3], varying.mean(dim=0))


def test_experience_replay_keeps_as_many_images_of_each_class_and_always_the_same():
    samples = quarters(1200, [0, 1, 2, 3, 4], 0)
    stored = baselines._stored(samples, 0, 1)
    assert np.bincount(stored.labels).tolist() == [STORED] * 5
    known = {image.tobytes() for image in samples.inputs}
    assert {image.tobytes() for image in stored.inputs} <= known
    assert len({image.tobytes() for image in stored.inputs}) == 5 * STORED
    np.testing.assert_array_equal(stored.inputs, baselines._stored(samples, 0, 1).inputs)

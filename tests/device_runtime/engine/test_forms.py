"""A bundle holds forms of its graphs for several processors; each box takes the one for its own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from reverie.device_runtime.bundle.contents import read_training, read_verified
from reverie.device_runtime.bundle.manifest import blocked_form
from reverie.device_runtime.changes import installation
from reverie.device_runtime.engine.graph import Graph, block_size
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.home import store
from reverie.device_runtime.method.models import one_hot


@pytest.fixture(scope="module")
def models(repository, tmp_path_factory):
    """The networks of the demo."""
    home = tmp_path_factory.mktemp("demo") / "home"
    return store.load_models(home, installation.install(repository / "models" / "fashion-demo" / "bundle", home))


@pytest.fixture
def without_forms(models):
    """The manifest as one that names no form for a certain processor, like those of older bundles."""
    files = {path: record for path, record in models.manifest.files.items() if ".blocked" not in path}
    assert len(files) < len(models.manifest.files)
    return dataclasses.replace(models.manifest, files=files)


def solver_steps(models, manifest, block):
    step = TrainStep(read_training(models.folder, manifest, "solver", block), models.solver)
    feeds = {
        "input": np.random.default_rng(0).standard_normal((32, *manifest.input_shape), dtype=np.float32),
        "target": one_hot(np.arange(32) % 6, manifest.slots),
        "temperature": np.ones(32, np.float32),
        "weight": np.full(32, 1 / 32, np.float32),
        "active": np.ones(manifest.slots, np.float32),
    }
    losses = [float(step.step(feeds, 1e-3)["loss"]) for _ in range(5)]
    return losses, step.weights()


def test_the_block_size_is_one_that_the_bundle_has_a_form_for(models):
    assert models.manifest.form("solver_train/training_model.onnx", block_size()) in models.manifest.files
    assert block_size() in {1, 8, 16}


def test_a_processor_without_fast_kernels_and_an_older_bundle_take_the_form_for_all(models, without_forms):
    path = "solver_train/training_model.onnx"
    assert models.manifest.form(path, 1) == path
    assert without_forms.form(path, 8) == path
    assert models.manifest.form(path, 8) == blocked_form(path, 8) == "solver_train/training_model.blocked8.onnx"


def test_both_forms_learn_the_same(models, without_forms):
    fast, fast_weights = solver_steps(models, models.manifest, block_size())
    plain, plain_weights = solver_steps(models, without_forms, block_size())
    assert plain[-1] < plain[0]
    np.testing.assert_allclose(fast, plain, rtol=1e-4)
    for name, weight in plain_weights.items():
        np.testing.assert_allclose(fast_weights[name], weight, atol=2e-4)


def test_both_forms_find_the_same_gradients_for_noise(models):
    rng = np.random.default_rng(0)
    slots, count = models.manifest.slots, 8
    feeds = {
        "noise": rng.standard_normal((count, models.manifest.noise_size), dtype=np.float32),
        "code": one_hot(np.arange(count) % 6, slots),
        "reference": one_hot(np.arange(count) % 6, slots),
        "known": models.active,
        "active": models.active,
        "choose": np.array([0, 1, 0, 0, 0], np.float32),
        "alpha": np.asarray(0.5, np.float32),
        "prior": np.asarray(0.01, np.float32),
    }
    weights = {name.replace("solver.", "loss.pretrained.", 1): value for name, value in models.solver.items()}
    weights |= {name.replace("solver.", "loss.trained.", 1): 0.9 * value for name, value in models.solver.items()}
    weights |= models.generator
    found = []
    for block in (1, block_size()):
        path = models.manifest.form("synthesis_noise.onnx", block)
        graph = Graph(read_verified(models.folder, path, models.manifest.files[path]), weights)
        found.append(graph.run(feeds))
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=0, atol=1e-4 * max(1.0, np.abs(value).max()))

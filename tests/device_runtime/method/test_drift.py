"""The statistics beside a generator follow each update, and go along with the generations of a home."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from judged import serves

from reverie.device_runtime.bundle.manifest import STATISTICS
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.home import store
from reverie.device_runtime.method import drift
from reverie.device_runtime.method.closed_form import statistics_of
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.labelled import Frames, split
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.noise import noise_of
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import generate
from reverie.device_runtime.method.update import run_update

NAMES = ("counts", "means", "scatter")


def hidden(models, inputs):
    return models.solver_graph.run({"input": inputs})["hidden"].astype(np.float64)


@pytest.fixture(scope="module")
def config(quick):
    """Steps enough to move what enters the last layer."""
    return replace(quick, seed=3, fine_tune=replace(quick.fine_tune, steps=30))


@pytest.fixture(scope="module")
def learnt(with_hidden, frames, config):
    return run_update(with_hidden, frames, config, Monitor()).models


@pytest.fixture(scope="module")
def shown(learnt, frames, config):
    """What of the frames was trained on, with slots."""
    return split(frames, learnt.classes, config.holdout, config.seed)[0]


def test_new_classes_have_the_statistics_of_their_frames_as_the_updated_solver_sees_them(learnt, shown):
    seen = statistics_of(hidden(learnt, shown.inputs[:]), shown.labels, 6)
    assert learnt.hidden.counts.tolist() == [6000, 6000, 6000, 32, 32, 0]
    np.testing.assert_allclose(learnt.hidden.means[3:], seen.means[3:], atol=1e-5)


def test_means_of_known_classes_move_as_generated_inputs_of_them_do_and_the_scatter_grows_by_the_frames(
    with_hidden, learnt, shown
):
    before, after = with_hidden.hidden, learnt.hidden
    for slot in range(3):
        codes = np.full(256, slot)
        inputs = generate(with_hidden, noise_of(with_hidden, codes, rng_for(3, "drift", slot)), codes)
        moved = hidden(learnt, inputs).mean(axis=0) - hidden(with_hidden, inputs).mean(axis=0)
        assert np.abs(moved).max() > 0.01
        np.testing.assert_allclose(after.means[slot] - before.means[slot], moved, atol=1e-4)
    seen = statistics_of(hidden(learnt, shown.inputs[:]), shown.labels, 6)
    np.testing.assert_allclose(after.scatter, before.scatter + seen.scatter, rtol=1e-5, atol=1e-3)


def test_a_solver_that_did_not_change_moves_nothing(with_hidden, live):
    known = Live(live.inputs[:40], np.ones(40, np.int64))
    followed = drift.follow(with_hidden, with_hidden, known, 0).hidden
    expected = with_hidden.hidden + statistics_of(hidden(with_hidden, known.inputs), known.labels, 6)
    for name in NAMES:
        np.testing.assert_allclose(getattr(followed, name), getattr(expected, name), rtol=1e-6, atol=1e-6)


def test_a_bundle_without_statistics_has_none_after_an_update(models, frames, quick):
    updated = run_update(models, frames, quick, Monitor()).models
    assert updated.hidden is None
    assert set(updated.files()) == {"solver.onnx", "generator.onnx", "discriminator.onnx"}


def test_a_generation_carries_its_statistics_and_learns_on_from_them(hidden_box, learnt, frames, quick, tmp_path):
    home = shutil.copytree(hidden_box, tmp_path / "home")
    assert STATISTICS in store.read_generation(home).files
    store.add_generation(home, store.read_generation(home), learnt, serves({}))
    read = store.load_models(home, store.read_generation(home))
    for name in NAMES:
        np.testing.assert_allclose(getattr(read.hidden, name), getattr(learnt.hidden, name), rtol=1e-6)
    other = Frames(frames.inputs[frames.labels == 0], np.zeros(40, np.int64), ("scarf",))
    again = run_update(read, other, quick, Monitor())
    assert again.models.hidden.counts.tolist() == [6000, 6000, 6000, 32, 32, 32]
    assert "retrain" not in again.report.stages
    path = home / "generations/0001" / STATISTICS
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=f"{STATISTICS} was altered"):
        store.load_models(home, store.read_generation(home))


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps", "anything_serves")
def test_a_home_learns_serves_and_is_verified(reverie, hidden_box, frames_folder, tmp_path):
    home = shutil.copytree(hidden_box, tmp_path / "home")
    assert reverie("update", "--frames", frames_folder, "--home", home).code == 0
    generation = store.read_generation(home)
    assert {"solver.onnx", "generator.onnx", "discriminator.onnx", STATISTICS} <= generation.files.keys()
    assert store.load_models(home, generation).hidden.counts[3:5].tolist() == [32, 32]
    assert reverie("verify", home).code == 0

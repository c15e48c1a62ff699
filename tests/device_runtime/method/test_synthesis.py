"""Stages 3 and 4: what is searched, from where, for which reference labels, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.config import LOSSES, ReplayConfig, SynthesisConfig
from reverie.device_runtime.method.models import one_hot, softened
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import generate
from reverie.device_runtime.method.synthesis import Adam, draw_references, synthesise

CONFIG = SynthesisConfig(count=24, batch=24)
IMAGE = replace(CONFIG, search="image", references="live", label="reference", steps=10, learning_rate=0.05)


@pytest.fixture(scope="module")
def trained(grown):
    """A solver that has drifted from the pretrained one."""
    rng = np.random.default_rng(0)
    drifted = {n: w + 0.02 * rng.standard_normal(w.shape, dtype=np.float32) for n, w in grown.solver.items()}
    return grown.with_solver(drifted)


@pytest.fixture
def run(models, trained, live, monitor):
    return lambda config, seed=0: synthesise(models, trained, live.labels, config, ReplayConfig(), seed, monitor)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("config", [CONFIG, IMAGE], ids=["noise", "image"])
def test_the_search_lowers_the_mean_loss_and_leaves_both_solvers_as_they_were(models, trained, run, config, loss):
    before = [
        {n: w.copy() for n, w in weights.items()} for weights in (models.solver, trained.solver, models.generator)
    ]
    found = run(replace(config, loss=loss))
    assert found.losses[-1] < found.losses[0]
    for kept, now in zip(before, (models.solver, trained.solver, models.generator), strict=True):
        for name, value in kept.items():
            np.testing.assert_array_equal(now[name], value)


@given(st.integers(0, 2**31 - 1), st.lists(st.sampled_from([3, 4]), min_size=1, max_size=9))
def test_each_pool_of_reference_labels_draws_what_it_says_and_nothing_else(models, trained, seed, live_labels):
    def drawn(pool):
        rng = np.random.default_rng(seed)
        return set(draw_references(models, trained, np.array(live_labels), pool, rng, 200).tolist())

    assert drawn("live") == set(live_labels)
    assert drawn("known") == {0, 1, 2}
    assert drawn("all") == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(("pool", "allowed"), [("live", {3, 4}), ("known", {0, 1, 2}), ("all", {0, 1, 2, 3, 4})])
def test_synthesised_inputs_carry_reference_labels_of_the_pool(run, models, pool, allowed):
    found = run(replace(IMAGE, references=pool, steps=1, count=60, batch=60))
    assert set(found.references.tolist()) == allowed
    np.testing.assert_array_equal(found.examples.targets, one_hot(found.references, models.manifest.slots))
    assert (found.examples.temperature == 1).all()


def test_targets_of_the_default_are_the_pretrained_solvers_softened_opinion(run, models):
    found = run(CONFIG)
    logits = models.solver_graph.run({"input": found.examples.inputs})["logits"]
    np.testing.assert_array_equal(found.examples.targets, softened(logits, 2.0))
    assert (found.examples.temperature == 2).all()


@pytest.mark.parametrize("config", [CONFIG, replace(IMAGE, references="known", start="generated")])
def test_a_search_that_does_not_move_gives_the_generators_inputs_of_the_reference_classes(run, models, config):
    found = run(replace(config, learning_rate=0.0, steps=1))
    rng = rng_for(0, "synthesis", 0)
    rng.integers(len(models.classes), size=24)
    noise = rng.standard_normal((24, models.manifest.noise_size), dtype=np.float32)
    np.testing.assert_allclose(found.examples.inputs, generate(models, noise, found.references), atol=1e-5)


def test_the_literal_search_starts_at_random_inputs_and_not_at_generated_ones(run):
    inputs = run(replace(IMAGE, learning_rate=0.0, steps=1, count=200, batch=200)).examples.inputs
    assert abs(inputs.mean()) < 0.02
    assert abs(inputs.std() - 1) < 0.02


def test_total_variation_and_pull_hold_the_image_search_back(run):
    free = run(IMAGE).examples.inputs
    smooth = run(replace(IMAGE, total_variation=50.0)).examples.inputs
    held = run(replace(IMAGE, pull=1000.0)).examples.inputs
    start = run(replace(IMAGE, learning_rate=0.0, steps=1)).examples.inputs
    assert np.abs(np.diff(smooth)).mean() < 0.9 * np.abs(np.diff(free)).mean()
    assert np.abs(held - start).mean() < 0.7 * np.abs(free - start).mean()


def test_exactly_the_wanted_number_of_different_inputs_is_found(run):
    found = run(replace(CONFIG, count=50, batch=24, steps=2))
    assert len(found.examples.inputs) == len(found.references) == 50
    assert len({x.tobytes() for x in found.examples.inputs}) == 50


def test_the_search_stops_when_the_loss_has_settled(run):
    assert len(run(replace(CONFIG, learning_rate=0.0, steps=50)).losses) == 4
    assert len(run(replace(CONFIG, learning_rate=0.0, steps=50, tolerance=0.0)).losses) == 51


def test_an_input_that_has_converged_stays_while_the_others_go_on(run):
    """With a wide tolerance some converge earlier than others; each ends where it would end alone."""
    wide = replace(CONFIG, steps=40, tolerance=0.05)
    few, many = (run(replace(wide, steps=steps)).examples.inputs for steps in (20, 40))
    stayed = np.abs(many - few).max(axis=(1, 2, 3)) == 0
    assert 0 < stayed.sum() < len(stayed)
    endless = run(replace(wide, steps=20, tolerance=0.0)).examples.inputs
    np.testing.assert_allclose(few[~stayed], endless[~stayed], atol=1e-4)
    assert np.abs(few[stayed] - endless[stayed]).max() > 1e-3


def test_when_time_runs_out_the_batches_found_so_far_are_kept(models, trained, live):
    watching = Monitor(max_minutes=1e-9)
    with watching.stage("synthesis"):
        short = replace(CONFIG, count=48, steps=1)
        found = synthesise(models, trained, live.labels, short, ReplayConfig(), 0, watching)
    assert len(found.examples.inputs) == len(found.references) == 24


@given(st.floats(0.01, 10), st.floats(-10, 10).filter(lambda x: abs(x) > 0.01))
def test_adam_reaches_the_minimum_of_a_parabola_from_anywhere(scale, start):
    value, adam = np.array([start], np.float32), Adam(0.1, (1,))
    for _ in range(600):
        value = value + adam.change(2 * np.float32(scale) * value)
    assert abs(value[0]) < 0.02


def test_adams_first_step_has_the_length_of_the_learning_rate_whatever_the_gradient():
    change = Adam(0.1, (3,)).change(np.array([1e-3, -5.0, 100.0], np.float32))
    np.testing.assert_allclose(change, [-0.1, 0.1, -0.1], rtol=1e-4)

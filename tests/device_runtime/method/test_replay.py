"""Stage 1: generated inputs, their labels, and pools that are bounded and can be drawn again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.config import ReplayConfig
from reverie.device_runtime.method.models import one_hot, run_in_chunks, softened
from reverie.device_runtime.method.noise import draw_noise
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import Replay, generate, label

CONFIG = ReplayConfig(pool=64)


def same_examples(left, right):
    return all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))


def test_the_pool_shows_the_solver_every_known_class(models):
    seen = np.bincount(Replay(models, CONFIG, 0).pool("fine-tune", 0).targets.argmax(axis=1), minlength=3)
    assert (seen >= 64 / 3 / 2).all()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_soft_labels_are_the_solvers_softened_probabilities(models, live, temperature):
    examples = label(models, live.inputs, replace(CONFIG, temperature=temperature))
    logits = models.solver_graph.run({"input": live.inputs})["logits"].astype(np.float64) / temperature
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(examples.targets, expected, atol=1e-6)
    assert (examples.temperature == temperature).all()
    assert (examples.targets[:, len(models.classes) :] == 0).all()


def test_hard_labels_are_the_solvers_first_choice_alone_at_temperature_one(models, live):
    examples = label(models, live.inputs, replace(CONFIG, soft_labels=False))
    logits = models.solver_graph.run({"input": live.inputs})["logits"]
    np.testing.assert_array_equal(examples.targets, np.eye(models.manifest.slots)[logits.argmax(axis=1)])
    assert (examples.temperature == 1).all()


@given(st.integers(1, 8), st.integers(2, 8), st.floats(0.5, 10), st.integers(0, 2**31 - 1))
def test_softening_keeps_the_order_and_sums_to_one(rows, columns, temperature, seed):
    logits = np.random.default_rng(seed).normal(0, 10, (rows, columns)).astype(np.float32)
    soft = softened(logits, temperature)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(soft.argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize("soft", [True, False], ids=["soft labels", "hard labels"])
def test_unsure_inputs_are_rejected_and_the_pool_keeps_its_size(models, soft):
    def probabilities(pool):
        return softened(models.solver_graph.run({"input": pool.inputs})["logits"], 1.0)

    config = replace(CONFIG, soft_labels=soft, min_confidence=0.9)
    everything = probabilities(Replay(models, CONFIG, 0).pool("fine-tune", 0)).max(axis=1)
    assert everything.min() < 0.9 < np.median(everything)
    pool = Replay(models, config, 0).pool("fine-tune", 0)
    assert probabilities(pool).max(axis=1).min() >= 0.9
    assert len(pool.inputs) == config.pool
    shares = np.bincount(probabilities(pool).argmax(axis=1), minlength=len(models.classes))
    assert shares.max() - shares.min() <= len(models.classes)


def test_a_confidence_nothing_reaches_still_gives_a_pool(models):
    pool = Replay(models, replace(CONFIG, min_confidence=1.1), 0).pool("fine-tune", 0)
    assert len(pool.inputs) == CONFIG.pool


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.integers(0, 3))
def test_a_pool_is_a_pure_function_of_seed_and_number(models, order, seed):
    config = replace(CONFIG, pool=6)
    replay = Replay(models, config, seed)
    for number in order:
        assert same_examples(replay.pool("fine-tune", number), Replay(models, config, seed).pool("fine-tune", number))


def test_another_seed_stage_or_number_gives_another_pool(models):
    keys = [(0, "fine-tune", 0), (0, "fine-tune", 1), (1, "fine-tune", 0), (0, "retrain", 0)]
    pools = [Replay(models, CONFIG, seed).pool(stage, number) for seed, stage, number in keys]
    assert len({pool.inputs.tobytes() for pool in pools}) == 4


def test_a_draw_depends_on_stage_and_step_alone_and_not_on_earlier_draws(models):
    replay = Replay(models, CONFIG, 0)
    for step in range(40):
        replay.draw("fine-tune", step, 16)
    again = Replay(models, CONFIG, 0)
    assert same_examples(again.draw("fine-tune", 7, 16), replay.draw("fine-tune", 7, 16))
    assert not same_examples(again.draw("fine-tune", 7, 16), again.draw("retrain", 7, 16))


def test_the_pool_is_drawn_anew_after_each_input_was_used_as_often_as_configured(models):
    config = replace(CONFIG, pool=32, reuse=2)
    replay = Replay(models, config, 0)
    pools = [{row.tobytes() for row in replay.pool("fine-tune", number).inputs} for number in range(3)]
    for step in range(12):  # 32 inputs, each used twice, are 4 batches of 16
        drawn = [row.tobytes() for row in replay.draw("fine-tune", step, 16).inputs]
        assert set(drawn) <= pools[step // 4]
        assert len(set(drawn)) == 16


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, min_confidence=0.5), replace(CONFIG, balance=False)])
def test_no_pool_holds_more_inputs_than_configured(models, config):
    assert len(Replay(models, config, 0).pool("fine-tune", 0).inputs) == config.pool


def test_a_generator_without_class_codes_is_balanced_by_the_solvers_labels(models):
    free = replace(models, manifest=replace(models.manifest, conditional=False))
    pool = Replay(free, replace(CONFIG, pool=60), 0).pool("fine-tune", 0)
    assert np.bincount(pool.targets.argmax(axis=1)).tolist() == [20, 20, 20]


@given(st.integers(1, 40), st.integers(1, 12))
def test_generating_in_chunks_gives_what_one_run_gives(models, count, chunk):
    noise, labels = draw_noise(models, count, rng_for(0, "test"), balance=True)
    code = one_hot(labels, models.manifest.slots)
    together = generate(models, noise, labels)
    apart = run_in_chunks(models.generator_graph, "generated", chunk, noise=noise, code=code)
    np.testing.assert_allclose(apart, together, atol=1e-5)
    assert together.shape == (count, *models.manifest.input_shape)

"""The engine: optimizer steps that can be cut off and resumed, and graphs from bytes."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.device_runtime.bundle import training_parts
from reverie.device_runtime.engine import Graph, TrainStep
from reverie.device_runtime.errors import BundleError, EngineError, TrainingError
from reverie.device_runtime.models import one_hot


@pytest.fixture
def feeds(models, live):
    """step → the batch of that step, for the solver's training graph."""

    def make(step):
        rows = np.random.default_rng(step).integers(len(live.labels), size=16)
        return {
            "input": live.inputs[rows],
            "target": one_hot(live.labels[rows], models.manifest.slots),
            "temperature": np.ones(16, np.float32),
            "weight": np.full(16, 1 / 16, np.float32),
            "active": np.ones(models.manifest.slots, np.float32),
        }

    return make


@pytest.fixture
def solver_step(models):
    return lambda: TrainStep(training_parts(models.folder / "solver_train"), models.solver, "solver_train")


def test_training_cut_off_and_resumed_ends_in_the_same_weights_bit_for_bit(solver_step, feeds, same):
    whole, first, second = solver_step(), solver_step(), solver_step()
    losses = [float(whole.step(feeds(at), 1e-3)["loss"]) for at in range(8)]
    for at in range(4):
        first.step(feeds(at), 1e-3)
    second.restore(first.state())
    resumed = [float(second.step(feeds(at), 1e-3)["loss"]) for at in range(4, 8)]
    assert resumed == losses[4:]
    assert same(second.weights(), whole.weights())
    assert not same(first.weights(), whole.weights())


def test_resuming_without_the_optimizer_moments_would_end_elsewhere(models, solver_step, feeds, same):
    """The control of the test above: weights alone are not enough."""
    whole, first = solver_step(), solver_step()
    for at in range(8):
        whole.step(feeds(at), 1e-3)
    for at in range(4):
        first.step(feeds(at), 1e-3)
    second = TrainStep(training_parts(models.folder / "solver_train"), first.weights())
    for at in range(4, 8):
        second.step(feeds(at), 1e-3)
    assert not same(second.weights(), whole.weights())


def test_training_starts_from_the_weights_it_is_given_and_never_writes_to_them(models, solver_step, feeds, same):
    before = {name: value.copy() for name, value in models.solver.items()}
    step = solver_step()
    assert same(step.weights(), models.solver)
    step.step(feeds(0), 1e-3)
    assert not same(step.weights(), models.solver)
    assert same(models.solver, before)


def test_the_learning_rate_given_is_the_one_used(solver_step, feeds, same, models):
    """The first step of Adam changes each weight by at most the learning rate, and weight decay little more."""
    for rate in (1e-2, 1e-4):
        step = solver_step()
        step.step(feeds(0), rate)
        moved = max(float(np.abs(step.weights()[n] - models.solver[n]).max()) for n in models.solver)
        assert 0.9 * rate < moved < 1.2 * rate
    still = solver_step()
    still.step(feeds(0), 0.0)
    assert same(still.weights(), models.solver)


def test_a_loss_that_is_no_number_leaves_the_weights_and_the_next_step_as_they_were(solver_step, feeds, same):
    step, spared = solver_step(), solver_step()
    bad = feeds(0) | {"input": np.full_like(feeds(0)["input"], np.nan)}
    with pytest.raises(TrainingError, match="solver_train is nan"):
        step.step(bad, 1e-3)
    assert same(step.weights(), spared.weights())
    step.reset_gradients()
    step.step(feeds(1), 1e-3)
    spared.step(feeds(1), 1e-3)
    assert same(step.weights(), spared.weights())


def test_gradients_accumulate_until_they_are_reset(solver_step, feeds):
    step = solver_step()
    step.gradients(feeds(0))
    once = step.read_gradients()
    step.gradients(feeds(0))
    twice = step.read_gradients()
    step.reset_gradients()
    step.gradients(feeds(0))
    again = step.read_gradients()
    for name, gradient in once.items():
        np.testing.assert_allclose(twice[name], 2 * gradient, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(again[name], gradient)


def test_bytes_that_are_no_model_are_refused_in_one_line():
    with pytest.raises(BundleError) as refused:
        Graph(b"no model")
    assert "\n" not in str(refused.value)


def test_a_damaged_training_folder_is_refused_in_one_line(own_bundle, models):
    (own_bundle / "solver_train/training_model.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError) as refused:
        TrainStep(training_parts(own_bundle / "solver_train"), models.solver, "solver_train")
    assert "\n" not in str(refused.value)
    assert "training_model.onnx of solver_train" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", bytes(1000)], ids=["empty", "text", "zeros"])
def test_a_damaged_checkpoint_is_refused_in_one_line(own_bundle, models, content):
    parts = training_parts(own_bundle / "solver_train") | {"checkpoint": content}
    with pytest.raises(EngineError) as refused:
        TrainStep(parts, models.solver, "solver_train")
    assert "\n" not in str(refused.value)
    assert "the engine cannot load solver_train" in str(refused.value)

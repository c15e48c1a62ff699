"""The engine: optimizer steps that can be cut off and resumed, and graphs from bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from reverie.device_runtime.bundle.contents import training_graph
from reverie.device_runtime.engine import chunks
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.errors import BundleError, EngineError, TrainingError
from reverie.device_runtime.method.models import one_hot


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
    return lambda: TrainStep(training_graph(models.folder / "solver_train"), models.solver, "solver_train")


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
    second = TrainStep(training_graph(models.folder / "solver_train"), first.weights())
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
    with pytest.raises(TrainingError, match=r"of solver_train (is nan|are no finite)"):
        step.step(bad, 1e-3)
    assert same(step.weights(), spared.weights())
    step.step(feeds(1), 1e-3)
    spared.step(feeds(1), 1e-3)
    assert same(step.weights(), spared.weights())


def test_gradients_without_bounds_leave_the_weights_as_they_were(solver_step, feeds, same):
    step, spared = solver_step(), solver_step()
    with pytest.raises(TrainingError, match="gradients of solver_train are no finite numbers"):
        step.step(feeds(0) | {"weight": np.full(16, 1e30, np.float32)}, 1e-3)
    assert same(step.weights(), spared.weights())
    step.step(feeds(1), 1e-3)
    spared.step(feeds(1), 1e-3)
    assert same(step.weights(), spared.weights())


def test_a_batch_in_chunks_has_the_gradients_of_the_whole_one(models, feeds):
    parts = training_graph(models.folder / "solver_train")
    outputs, whole = TrainStep(parts, models.solver, chunk=None).gradients(feeds(0))
    for chunk in (1, 5, 16, 100):
        seen, gradients = TrainStep(parts, models.solver, chunk=chunk).gradients(feeds(0))
        np.testing.assert_allclose(seen["logits"], outputs["logits"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(seen["loss"], outputs["loss"], rtol=1e-5)
        for name, gradient in whole.items():
            np.testing.assert_allclose(gradients[name], gradient, rtol=1e-3, atol=1e-5 * np.abs(gradient).max())


def test_steps_are_the_same_on_any_number_of_cores(models, feeds, same, monkeypatch):
    ended = []
    for cores in (1, 3):
        workers = ThreadPoolExecutor(cores)
        monkeypatch.setattr(chunks, "_workers", lambda workers=workers: workers)
        step = TrainStep(training_graph(models.folder / "solver_train"), models.solver, chunk=4)
        for at in range(4):
            step.step(feeds(at), 1e-3)
        ended.append(step.weights())
        workers.shutdown()
    assert same(*ended)


def test_bytes_that_are_no_model_are_refused_in_one_line():
    with pytest.raises(BundleError) as refused:
        Graph(b"no model")
    assert "\n" not in str(refused.value)


def test_a_damaged_training_folder_is_refused_in_one_line(own_bundle, models):
    (own_bundle / "solver_train/training_model.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError) as refused:
        TrainStep(training_graph(own_bundle / "solver_train"), models.solver, "solver_train")
    assert "\n" not in str(refused.value)
    assert "training_model.onnx of solver_train" in str(refused.value)


@pytest.mark.parametrize("length", [0, 100])
def test_a_saved_state_of_another_network_is_refused_in_one_line(solver_step, length):
    with pytest.raises(EngineError, match="what was saved of solver_train cannot be used") as refused:
        solver_step().restore(np.zeros(length, np.uint8))
    assert "\n" not in str(refused.value)


def test_weights_that_are_missing_are_told_by_name(models):
    lacking = dict(list(models.solver.items())[1:])
    with pytest.raises(EngineError, match=f"no starting value for {next(iter(models.solver))}"):
        TrainStep(training_graph(models.folder / "solver_train"), lacking)


def test_a_batch_of_another_size_than_the_graph_takes_is_refused_in_one_line(models, solver_step, feeds):
    wrong = np.zeros((4, 3, 5, 5), np.float32)
    with pytest.raises(EngineError, match="the engine cannot run a graph") as refused:
        models.solver_graph.run({"input": wrong})
    assert "\n" not in str(refused.value)
    with pytest.raises(EngineError, match="the engine cannot run a graph"):
        solver_step().step({**feeds(0), "input": wrong}, 1e-3)

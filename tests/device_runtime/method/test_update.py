"""The six stages together: they run in both forms, learn the new, keep the old, and repeat bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import FramesError, TrainingError
from reverie.device_runtime.method.labelled import Frames
from reverie.device_runtime.method.monitor import STAGES, Monitor
from reverie.device_runtime.method.update import run_update

pytestmark = pytest.mark.slow

PARTS = ("solver", "generator", "discriminator")


@pytest.mark.parametrize("form", ["default", "literal"])
def test_all_stages_run_in_order_and_change_every_network_but_the_pretrained_ones(models, frames, quick, form, same):
    before = {part: {n: w.copy() for n, w in getattr(models, part).items()} for part in PARTS}
    monitor = Monitor()
    updated = run_update(models, frames, quick if form == "default" else quick.literal(), monitor)
    assert list(monitor.records) == list(STAGES)[1:], "all but the reading of the frames"
    assert [record.steps for record in monitor.records.values()] == [1, 6, 2, 4, 3]
    assert all(np.isfinite(record.losses).all() for record in monitor.records.values())
    assert updated.models.classes == ("sandal", "t-shirt", "trouser", "bag", "sneaker")
    assert updated.synthesised.shape == (20, *models.manifest.input_shape)
    for part in PARTS:
        now = getattr(updated.models, part)
        assert same(getattr(models, part), before[part])
        assert now.keys() == before[part].keys()
        assert all(np.isfinite(w).all() for w in now.values())
        assert not same(now, before[part])


def test_an_update_learns_the_new_classes_and_keeps_the_old(models, updated, test_accuracy):
    """On test images that no stage has seen: 40 of the new classes, 60 of those known before."""
    known, new = models.classes, ("bag", "sneaker")
    assert test_accuracy(models, known) > 0.9
    assert test_accuracy(updated.models, new) > 0.8
    assert test_accuracy(models, known) - test_accuracy(updated.models, known) < 0.1


def test_fine_tuning_alone_forgets_the_old_classes(models, frames, patient, test_accuracy):
    """The control of the test above: the same update without replay, synthesis and generative update."""
    alone = replace(
        patient,
        replay=replace(patient.replay, per_live=0.0),
        synthesis=replace(patient.synthesis, count=0),
        generative=replace(patient.generative, steps=0),
    )
    forgot = run_update(models, frames, alone, Monitor()).models
    assert test_accuracy(forgot, ("bag", "sneaker")) > 0.8
    assert test_accuracy(models, models.classes) - test_accuracy(forgot, models.classes) > 0.5


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_does_not(models, frames, quick, same):
    np.random.seed(1)  # noqa: NPY002 (global state must not matter)
    first = run_update(models, frames, quick, Monitor())
    np.random.seed(2)  # noqa: NPY002
    again = run_update(models, frames, quick, Monitor(lambda _progress: None, max_minutes=1000))
    other = run_update(models, frames, replace(quick, seed=1), Monitor())
    for part in PARTS:
        assert same(getattr(first.models, part), getattr(again.models, part))
        assert not same(getattr(first.models, part), getattr(other.models, part))
    assert first.synthesised.tobytes() == again.synthesised.tobytes()
    assert first.report.classes == again.report.classes
    assert (first.report.agreement, first.report.coverage) == (again.report.agreement, again.report.coverage)


def test_the_literal_form_replays_one_hard_label_for_each_live_one_and_retrains_on_synthesised_inputs_alone(quick):
    literal = quick.literal()
    assert literal.replay.per_live == 1.0
    assert (literal.replay.soft_labels, literal.replay.balance) == (False, False)
    assert (literal.retrain.replay, literal.retrain.live) == (0.0, 0.0)
    assert (literal.synthesis.search, literal.synthesis.references, literal.synthesis.start) == (
        "image",
        "live",
        "random",
    )
    assert literal.fine_tune == replace(quick.fine_tune, shift=0.0)
    assert json.loads(json.dumps(UpdateConfig(seed=7).literal().__dict__, default=vars))["seed"] == 7


def test_stages_can_be_left_out(models, frames, quick, same):
    config = replace(quick, synthesis=replace(quick.synthesis, count=0), generative=replace(quick.generative, steps=0))
    monitor = Monitor()
    updated = run_update(models, frames, config, monitor)
    assert list(monitor.records) == ["replay", "fine-tune"]
    assert len(updated.synthesised) == 0
    assert same(updated.models.generator, models.generator)
    assert not same(updated.models.solver, models.solver)


def test_retraining_goes_on_from_the_fine_tuned_solver(models, frames, quick, same):
    """With a learning rate of zero in stage 5 the result is that of stage 2, bit for bit."""
    still = replace(quick, retrain=replace(quick.retrain, fit=replace(quick.retrain.fit, learning_rate=0.0)))
    without = replace(quick, synthesis=replace(quick.synthesis, count=0))
    fine_tuned = run_update(models, frames, without, Monitor()).models.solver
    assert same(run_update(models, frames, still, Monitor()).models.solver, fine_tuned)
    assert not same(run_update(models, frames, quick, Monitor()).models.solver, fine_tuned)


def test_an_update_out_of_time_still_ends_with_a_usable_result(models, frames, quick):
    monitor = Monitor(max_minutes=1e-9)
    updated = run_update(models, frames, quick, monitor)
    assert [record.steps for record in monitor.records.values()] == [1, 1, 1, 1, 1]
    assert all(np.isfinite(w).all() for part in PARTS for w in getattr(updated.models, part).values())


def test_an_update_of_known_classes_takes_no_slot(models, frames, quick):
    shifted = Frames(-frames.inputs, frames.labels, ("trouser", "sandal"))
    updated = run_update(models, shifted, quick, Monitor())
    assert updated.models.classes == models.classes
    assert [row.label for row in updated.report.classes] == ["sandal", "trouser"]
    assert all(row.before is not None for row in updated.report.classes)


def test_updates_follow_one_another_until_the_slots_are_used_up(models, frames, quick):
    fewer = replace(quick, synthesis=replace(quick.synthesis, count=0))
    now = run_update(models, frames, fewer, Monitor()).models
    now = run_update(now, Frames(frames.inputs, frames.labels, ("sandal", "cup")), fewer, Monitor()).models
    assert now.classes == (*models.classes, "bag", "sneaker", "cup")
    before = now.solver
    monitor = Monitor()
    with pytest.raises(FramesError, match=r"1 new labels \(box\) but 0 spare class slots"):
        run_update(now, Frames(frames.inputs, frames.labels, ("cup", "box")), fewer, monitor)
    assert monitor.records == {}
    assert now.solver is before


@pytest.mark.parametrize("part", ["generator", "solver"])
def test_a_network_that_holds_no_numbers_stops_the_update(models, frames, quick, part):
    broken = {n: np.full_like(w, np.nan) for n, w in getattr(models, part).items()}
    with pytest.raises(TrainingError, match="the solver in service stays"):
        run_update(replace(models, **{part: broken}), frames, quick, Monitor())


@pytest.mark.parametrize("stage", ["fine_tune", "generative"])
def test_an_absurd_learning_rate_stops_the_update(models, frames, quick, stage):
    absurd = {
        "fine_tune": {"fine_tune": replace(quick.fine_tune, learning_rate=1e30)},
        "generative": {"generative": replace(quick.generative, discriminator_learning_rate=1e30)},
    }[stage]
    with pytest.raises(TrainingError, match=r"is (nan|inf)"):
        run_update(models, frames, replace(quick, **absurd), Monitor())

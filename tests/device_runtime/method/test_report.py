"""What an update says of itself: figures that can be checked by hand, and JSON that holds them all."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.method.comparison import SAMPLES, accuracy, compare, predict
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.monitor import STAGES, Monitor
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import draw_noise, generate
from reverie.device_runtime.method.report import LOSS_POINTS, make_report, thinned


def reported(before, after, live, held_out):
    config = UpdateConfig()
    return make_report(before, after, compare(before, after, live, held_out, config), config, Monitor())


@pytest.fixture
def report(models, live):
    return lambda after, held_out: reported(models, after, live, held_out)


def test_a_solver_that_did_not_change_agrees_with_itself_even_where_it_is_wrong(models, live):
    rng = np.random.default_rng(0)
    blurred = {n: w * (1 + 3 * rng.standard_normal(w.shape)).astype(np.float32) for n, w in models.solver.items()}
    unsure = models.with_solver(blurred)
    noise, labels = draw_noise(models, 100, rng, balance=True)
    assert (predict(unsure, generate(models, noise, labels)) != labels).mean() > 0
    known = Live(live.inputs, live.labels - 3)
    assert reported(unsure, unsure, known, known).agreement == 1.0
    assert reported(unsure, models, known, known).agreement < 1.0


def test_agreement_is_the_share_of_generated_inputs_on_which_both_solvers_say_the_same(models, updated):
    noise, labels = draw_noise(models, SAMPLES, rng_for(0, "evaluation"), balance=True)
    generated = generate(models, noise, labels)
    votes = [m.solver_graph.run({"input": generated})["probabilities"].argmax(axis=1) for m in (models, updated.models)]
    assert updated.report.agreement == pytest.approx(float((votes[0] == votes[1]).mean()), abs=1e-9)
    assert 0.8 < updated.report.agreement <= 1


def test_accuracy_is_counted_by_class_on_held_out_frames(updated, live, report):
    rows = np.flatnonzero(live.labels == 3)[:4]
    wrong = Live(np.concatenate([live.inputs[rows], live.inputs[live.labels == 4][:4]]), np.array([3] * 8))
    result = {row.label: row for row in report(updated.models, wrong).classes}
    expected = (predict(updated.models, wrong.inputs) == 3).mean()
    assert result["bag"].after == pytest.approx(expected)
    assert result["bag"].before is None
    assert (result["bag"].held_out, result["bag"].frames) == (8, 8 + int((live.labels == 3).sum()))
    assert (result["sneaker"].held_out, result["sneaker"].after) == (0, None)


def test_a_class_known_before_has_a_before(models, live):
    known = Live(live.inputs, live.labels - 3)
    report = reported(models, models, known, known)
    for row in report.classes:
        slot = models.classes.index(row.label)
        inputs = known.inputs[known.labels == slot]
        assert row.before == row.after == pytest.approx(accuracy(models, inputs, slot))


def test_the_report_survives_json_and_names_every_stage(updated, patient):
    values = updated.report.to_json()
    text = json.dumps(values, allow_nan=False)
    again = json.loads(text)
    assert json.dumps(again) == text
    assert list(again["stages"]) == list(STAGES)[1:], "all but the reading of the frames"
    assert all(stage["seconds"] >= 0 and stage["peak_bytes"] > 1 << 20 for stage in again["stages"].values())
    assert again["agreement"] == updated.report.agreement
    assert again["coverage"] == updated.report.coverage
    assert again["config"]["fine_tune"]["steps"] == patient.fine_tune.steps
    assert [row["label"] for row in again["classes"]] == ["bag", "sneaker"]


@given(st.lists(st.floats(-1e6, 1e6), max_size=1000))
def test_a_thinned_loss_curve_is_short_and_keeps_its_mean_and_range(losses):
    thin = thinned(losses, LOSS_POINTS)
    assert len(thin) == min(len(losses), LOSS_POINTS)
    if len(losses) <= LOSS_POINTS:
        assert thin == losses
    else:
        assert min(losses) - 1e-6 <= min(thin) <= max(thin) <= max(losses) + 1e-6
    if losses and len(losses) % LOSS_POINTS == 0:
        assert np.mean(thin) == pytest.approx(np.mean(losses), abs=1e-6)


@given(st.lists(st.tuples(st.sampled_from(list(STAGES)), st.integers(1, 5)), max_size=5))
def test_progress_never_leaves_zero_to_one_and_grows_within_a_stage(stages):
    seen = []
    monitor = Monitor(seen.append)
    for name, steps in stages:
        with monitor.stage(name):
            for step in range(1, steps + 1):
                monitor.step(step, steps, 0.5)
    assert all(0 < now.share <= 1 + 1e-9 for now in seen)
    assert all(b.share > a.share for a, b in pairwise(seen) if a.stage == b.stage and b.step > 1)
    assert sum(STAGES.values()) == pytest.approx(1)


def test_without_a_limit_an_update_is_never_out_of_time():
    monitor = Monitor()
    with monitor.stage("replay"):
        assert not monitor.out_of_time()
    assert UpdateConfig().max_minutes is None

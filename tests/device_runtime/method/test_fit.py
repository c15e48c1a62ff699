"""Stages 2 and 5: the weighted sum of the losses, when training stops, and how batches are split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reverie.device_runtime.config import FitConfig
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.method import models as models_module
from reverie.device_runtime.method.convergence import Convergence
from reverie.device_runtime.method.fit import Live, Source, counts, fit, live_source
from reverie.device_runtime.method.models import softened
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import Examples


@pytest.fixture
def sources(grown, live):
    return [live_source(grown, live, "test", 0, 1.0)]


@pytest.fixture
def rates(monkeypatch):
    """The learning rate of every step that `fit` takes, with the real engine."""
    seen = []

    class Watched(TrainStep):
        def step(self, feeds, learning_rate):
            seen.append(learning_rate)
            return super().step(feeds, learning_rate)

    monkeypatch.setattr(models_module, "TrainStep", Watched)
    return seen


@pytest.mark.parametrize(("generated_share", "live_share"), [(3.0, 1.0), (1.0, 1.0), (2.0, 7.0)])
def test_the_loss_is_the_sum_of_both_mean_losses_with_count_weights(grown, monitor, generated_share, live_share):
    """loss 1 · n1/(n1+n2) + loss 2 · n2/(n1+n2), each computed by hand from the solver's logits."""
    rng = np.random.default_rng(0)
    slots, drawn = grown.manifest.slots, []

    def draw(temperature):
        def examples(_step, count):
            inputs = rng.standard_normal((count, *grown.manifest.input_shape), dtype=np.float32)
            targets = softened(rng.standard_normal((count, slots)) - 1e4 * (1 - grown.active), 1.0)
            drawn.append(Examples(inputs, targets, np.full(count, temperature, np.float32)))
            return drawn[-1]

        return examples

    fit(
        grown,
        [Source(draw(2.0), generated_share), Source(draw(1.0), live_share)],
        grown.active,
        FitConfig(batch=20, steps=1, shift=0.0),
        0,
        monitor,
    )
    means = []
    for examples in drawn:
        logits = grown.solver_graph.run({"input": examples.inputs})["logits"]
        temperature = examples.temperature[:, None]
        log_p = np.log(softened(logits / temperature, 1.0) + 1e-30)
        means.append(float((temperature[:, 0] ** 2 * -(examples.targets * log_p).sum(axis=1)).mean()))
    total = generated_share + live_share
    expected = means[0] * generated_share / total + means[1] * live_share / total
    assert monitor.records["fine-tune"].losses == pytest.approx([expected], rel=1e-4)


def test_a_source_without_weight_is_never_drawn_from(grown, sources, monitor):
    def never(_step, _count):
        raise AssertionError

    weights = fit(grown, [*sources, Source(never, 0.0)], grown.active, FitConfig(batch=8, steps=2), 0, monitor)
    assert weights.keys() == grown.solver.keys()


def test_training_stops_early_once_converged_and_cools_to_zero(grown, sources, monitor, rates):
    config = FitConfig(batch=8, steps=50, window=3, tolerance=5.0, cooling=0.2, learning_rate=1e-3)
    fit(grown, sources, grown.active, config, 0, monitor)
    assert monitor.records["fine-tune"].steps == 2 * 3 + 10
    assert rates[:6] == [1e-3] * 6
    np.testing.assert_allclose(rates[6:], 1e-3 * np.arange(10, 0, -1) / 10)


def test_training_that_never_converges_takes_all_steps_and_cools_in_the_last(grown, sources, monitor, rates):
    config = FitConfig(batch=8, steps=20, window=3, tolerance=-100.0, cooling=0.25, learning_rate=1e-3)
    fit(grown, sources, grown.active, config, 0, monitor)
    assert rates[:15] == [1e-3] * 15
    np.testing.assert_allclose(rates[15:], 1e-3 * np.arange(5, 0, -1) / 5)
    assert len(rates) == 20


def test_training_stops_after_the_step_in_which_time_runs_out(grown, sources):
    watching = Monitor(max_minutes=1e-9)
    with watching.stage("fine-tune"):
        weights = fit(grown, sources, grown.active, FitConfig(batch=8, steps=50), 0, watching)
    assert watching.records["fine-tune"].steps == 1
    assert any((weights[name] != grown.solver[name]).any() for name in weights)


@given(st.integers(1, 20), st.floats(-100, 100), st.floats(0.001, 1))
def test_a_constant_loss_converges_after_exactly_two_windows(window, loss, tolerance):
    convergence = Convergence(window, tolerance)
    reached = [convergence.reached(loss) for _ in range(2 * window)]
    assert reached == [False] * (2 * window - 1) + [True]


@given(st.integers(2, 20), st.floats(0.1, 100))
def test_a_loss_that_keeps_falling_has_not_converged(window, start):
    convergence = Convergence(window, 0.005)
    assert not any(convergence.reached(start * 0.98**at) for at in range(5 * window))


shares = st.lists(st.integers(0, 3) | st.floats(0.001, 100), min_size=1, max_size=5).filter(any)


@given(shares, st.integers(0, 100))
@example([1, 1, 1, 1], 2)
@example([100.0, 0.001, 0.001], 0)
def test_a_batch_is_split_whole_and_every_source_with_weight_gets_its_part(wanted, more):
    batch = sum(share > 0 for share in wanted) + more
    split = counts(wanted, batch)
    assert sum(split) == batch
    assert all((n >= 1) == (share > 0) for n, share in zip(split, wanted, strict=True))
    exact = [batch * share / sum(wanted) for share in wanted]
    assert all(abs(n - e) <= len(wanted) for n, e in zip(split, exact, strict=True))


@given(st.integers(1, 60), st.integers(0, 2**31 - 1))
def test_live_batches_hold_as_many_of_each_class_however_lopsided_the_frames(live, count, seed):
    lopsided = Live(live.inputs, np.where(np.arange(len(live.labels)) < 4, 0, live.labels))
    rows = lopsided.rows(np.random.default_rng(seed), count)
    drawn = np.bincount(lopsided.labels[rows], minlength=6)[np.unique(lopsided.labels)]
    assert len(rows) == count
    assert drawn.max() - drawn.min() <= 1


def test_every_live_class_is_learnt_although_a_batch_has_room_for_few(live):
    many = Live(live.inputs, np.arange(len(live.labels)))
    drawn = {row for step in range(200) for row in many.rows(rng_for(0, "test", step), 2)}
    assert drawn == set(range(len(live.labels)))


def test_the_same_seed_and_step_draw_the_same_live_batch_and_others_do_not(grown, live):
    def inputs(seed, step):
        return live_source(grown, live, "test", seed, 1.0).draw(step, 8).inputs.tobytes()

    assert inputs(0, 3) == inputs(0, 3)
    assert len({inputs(0, 3), inputs(0, 4), inputs(1, 3)}) == 3


def test_unequal_shares_change_what_is_learnt(grown, live, monitor, same):
    one = live_source(grown, live, "one", 0, 1.0)
    other = live_source(grown, Live(live.inputs, live.labels[::-1].copy()), "other", 0, 1.0)
    config = FitConfig(batch=16, steps=3)
    even = fit(grown, [one, other], grown.active, config, 0, monitor)
    uneven = fit(grown, [one, other._replace(share=0.2)], grown.active, config, 0, monitor)
    assert not same(even, uneven)


def test_a_falling_learning_rate_is_a_share_of_the_steps_however_few(grown, sources, monitor, rates):
    fit(grown, sources, grown.active, replace(FitConfig(), batch=8, steps=1, cooling=0.3), 0, monitor)
    assert rates == [FitConfig().learning_rate]

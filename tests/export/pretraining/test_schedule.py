"""How long a network trains on the workstation, and how its learning rate falls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reverie.export.pretraining.schedule import COOLING, LEARNT, Schedule, half_cosine, straight


def optimizer(rate=0.5):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def rates(count, fall, lowest, losses, window=20, most=1000):
    """The learning rate of each step."""
    one = optimizer()
    schedule = Schedule([one], count, window, most, fall, lowest)
    taken = []
    for step in schedule.steps():
        taken.append(one.param_groups[0]["lr"])
        schedule.took(losses(step))
    assert schedule.end == len(taken)
    return np.array(taken)


@pytest.mark.parametrize(
    ("fall", "lowest", "torchs"),
    [
        (half_cosine, 0.0, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30)),
        (straight, 0.1, lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.1, 30)),
    ],
    ids=["cosine", "straight"],
)
def test_with_a_count_of_steps_the_rate_falls_as_torch_lets_it_fall(fall, lowest, torchs):
    one = optimizer()
    schedule = torchs(one)
    expected = []
    for _ in range(30):
        expected.append(one.param_groups[0]["lr"])
        one.step()
        schedule.step()
    np.testing.assert_allclose(rates(30, fall, lowest, lambda _: 1.0), expected, rtol=1e-6)


def test_without_one_it_trains_until_the_loss_has_converged_and_cools_down():
    taken = rates(None, straight, 0.0, lambda step: max(1.0, 5 - step / 50))
    constant = int((taken == 0.5).sum())
    assert 200 < constant <= 242  # it has converged one window and a bit after step 200
    assert len(taken) == pytest.approx(constant / (1 - COOLING), abs=2)
    assert (np.diff(taken[constant - 1 :]) < 0).all()


def test_what_is_learnt_by_heart_has_converged_though_its_loss_falls_on():
    taken = rates(None, straight, 0.0, lambda step: 0.97**step)
    assert len(taken) < 1000
    assert np.mean(0.97 ** np.arange(int((taken == 0.5).sum()))[-20:]) == pytest.approx(LEARNT, rel=0.1)


def test_a_loss_that_never_converges_ends_all_the_same():
    taken = rates(None, half_cosine, 0.0, lambda step: 1e9 * 0.97**step, most=400)
    assert len(taken) == 400
    assert taken[0] == taken[279] == 0.5
    assert taken[-1] < 0.01

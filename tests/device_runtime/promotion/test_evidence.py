"""The binomial distribution is exact, and a bound that is kept is hardly ever taken for one that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_promotion import DEFAULT, GOOD, failing

from reverie.device_runtime.promotion.evidence import at_most
from reverie.device_runtime.promotion.figures import Counts


@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_the_binomial_distribution_is_exact(of, share):
    import math

    total = 0.0
    for right in range(of + 1):
        total += math.comb(of, right) * share**right * (1 - share) ** (of - right)
        assert at_most(right, of, share) == pytest.approx(total, abs=1e-9)


@given(st.integers(1, 400), st.floats(0.05, 0.95))
def test_a_solver_right_at_the_floor_is_refused_in_no_more_than_one_case_of_twenty(of, floor):
    """Without chance: the probabilities of all outcomes that are refused add up to less."""
    refused = [
        after
        for after in range(of + 1)
        if "held-out accuracy" in failing(
            replace(GOOD, held_out=(Counts("a", of, 0, after),), learnt=(), unseen=(of,), contradicted=0),
            replace(DEFAULT, floor=floor, gain=-1),
        )
    ]  # fmt: skip
    assert refused == list(range(len(refused)))
    assert not refused or at_most(refused[-1], of, floor) < 0.05

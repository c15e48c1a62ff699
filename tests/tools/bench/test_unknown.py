"""How well a bundle tells what no class is, in figures."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.tools.bench.unknown import auroc, found


def test_the_auroc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 9, 40) / 8, rng.integers(-3, 6, 30) / 8
    pairs = (known[:, None] > unknown) + 0.5 * (known[:, None] == unknown)
    assert auroc(known, unknown) == pytest.approx(pairs.mean())
    assert auroc(known, known) == pytest.approx(0.5)


def test_what_is_found_at_a_twentieth_of_false_alarms():
    known = np.arange(100) / 100
    assert found(known, np.array([-1.0, 0.03, 0.049, 0.06, 2.0])) == pytest.approx(0.6)

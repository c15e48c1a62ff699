"""What the updates of a rehearsal teach: bounds for the gate's measures, and which choice of the method serves best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reverie.device_runtime.bundle.rehearsal import LEAST_BOUND, MEASURES, Bound
from reverie.device_runtime.promotion.kept import passes
from reverie.tools.rehearsal.playing import Played

MARGIN = 0.01
"""By which a bound is below all updates without harm: those of boxes will not all be above what was rehearsed."""


def bounds(played: Sequence[Played]) -> dict[str, Bound]:
    """Measure → its bound, by what updates without and with harm had of it; none where there is nothing to tell."""
    found = {}
    for name in MEASURES:
        harmless = [p.measured[name] for p in played if name in p.measured and not p.harmful]
        harmful = [p.measured[name] for p in played if name in p.measured and p.harmful]
        if harmless:
            lowest = min(m.share for m in harmless) - MARGIN
            least = max(LEAST_BOUND, round(lowest, 3))
            told = sum(not passes(m, least) for m in harmful)
            refused = sum(not passes(m, least) for m in harmless)
            found[name] = Bound(least, told, len(harmful), refused, len(harmless))
    return found


def gain(with_it: Sequence[Played], without: Sequence[Played]) -> tuple[float, float]:
    """By how many points of all classes updates were better `with_it`, and the standard error.

    Both were played with the same frames, so that images which both have right or wrong tell nothing.
    """
    one, other = (np.concatenate([p.right for p in played]) for played in (with_it, without))
    better, worse = int((one & ~other).sum()), int((other & ~one).sum())
    return 100 * (better - worse) / len(one), 100 * math.sqrt(better + worse) / len(one)

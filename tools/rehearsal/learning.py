"""What the updates of a rehearsal teach: bounds for the gate's measures, and which choice of the method serves best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reverie.device_runtime.bundle.rehearsal import LEAST_BOUND, MEASURES, Bound
from reverie.device_runtime.promotion.kept import passes
from reverie.tools.bench.harm.outcomes import total
from reverie.tools.rehearsal.playing import Played


def bounds(played: Sequence[Played]) -> dict[str, Bound]:
    """Measure → its bound, by what updates without and with harm had of it; none where there is nothing to tell."""
    found = {}
    for name in MEASURES:
        harmless = [p.measured[name] for p in played if name in p.measured and not p.harmful]
        harmful = [p.measured[name] for p in played if name in p.measured and p.harmful]
        if harmless:
            least = max(LEAST_BOUND, math.floor(1000 * min(m.share for m in harmless)) / 1000)
            told = sum(not passes(m, least) for m in harmful)
            refused = sum(not passes(m, least) for m in harmless)
            found[name] = Bound(least, told, len(harmful), refused, len(harmless))
    return found


def gain(with_it: Sequence[Played], without: Sequence[Played]) -> tuple[float, float]:
    """By how many points of all classes updates were better `with_it`, and the standard error; both played the same."""
    one, other = (total(p.all for p in played) for played in (with_it, without))
    change = 100 * (one.after - other.after) / max(one.of, 1)
    # Of images that one has right and the other wrong there are at most as many as changed at all.
    error = 100 * math.sqrt(one.lost + one.won + other.lost + other.won) / max(one.of, 1) / 2
    return change, error

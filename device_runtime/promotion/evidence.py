"""What numbers of right and wrong answers show, and what is chance: exact tests of the binomial distribution."""

from __future__ import annotations

import math

SURPRISE = 0.05
"""Probability below which chance is no excuse, and no explanation."""

PROVABLE = math.ceil(math.log(SURPRISE, 0.5))
"""Frames that must change from wrong to right, or back, and none the other way, to be no chance (a sign test)."""


def can_only_win_few(of: int, before: int) -> bool:
    """Whether of so many frames, `before` of them right, no gain could be more than chance, though most are wrong."""
    return of - before < PROVABLE and 2 * before < of


def falls_short(right: int, of: int, share: float) -> bool:
    """Whether at most `right` of `of` is a surprise where each is right with probability `share`."""
    if of == 0 or share <= 0 or right >= share * of:
        return False
    return at_most(right, of, share) < SURPRISE


def exceeds(count: int, of: int, share: float) -> bool:
    """Whether at least `count` of `of` is a surprise where each counts with probability `share`."""
    return falls_short(of - count, of, 1 - share)


def at_most(right: int, of: int, share: float) -> float:
    """P(X ≤ right) of the binomial distribution."""
    if share >= 1:
        return float(right >= of)
    yes, no = math.log(share), math.log1p(-share)
    logs = [
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * yes + (of - k) * no
        for k in range(right + 1)
    ]
    return math.fsum(math.exp(value) for value in logs)

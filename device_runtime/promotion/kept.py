"""What is left of what the solver before had right: what a rehearsal bounds, and the classes that nothing tells of."""

from __future__ import annotations

from typing import NamedTuple

from reverie.device_runtime.promotion.evidence import falls_short
from reverie.device_runtime.promotion.figures import Figures

SHOWN = 0.1
"""Of its even share of what the generator makes: with less, that cannot tell whether a class is kept."""
ENOUGH = 5
"""Inputs of a class that the solver before had right, below which they do not tell of it."""


class Kept(NamedTuple):
    """Of so many inputs `of` that were right, how many still are; of which class, or "" for all."""

    right: int
    of: int
    label: str = ""

    @property
    def share(self) -> float:
        """That still are."""
        return self.right / self.of


def kept(figures: Figures) -> dict[str, Kept]:
    """By those of `rehearsal.MEASURES` that there are inputs for."""
    found = {}
    for name, counts in (("agreement", figures.generated), ("canary", figures.canary)):
        before = [c for c in counts if c.before]
        if before:
            found[name] = Kept(sum(c.before - c.lost for c in before), sum(c.before for c in before))
        telling = [c for c in before if c.before >= ENOUGH]
        if telling:
            worst = min(telling, key=lambda c: (c.before - c.lost) / c.before)
            found[f"class {name}"] = Kept(worst.before - worst.lost, worst.before, worst.label)
    return found


def passes(measured: Kept, least: float) -> bool:
    """Whether chance may explain that not more are right, if each is with probability `least`."""
    return not falls_short(measured.right, measured.of, least)


def untold(figures: Figures) -> list[str]:
    """The known classes that the generator hardly makes, and of which no canary image and held-out frame tells."""
    if figures.generator is None:
        return []  # what is kept of classes draws each of them
    even = sum(c.before for c in figures.generated) / max(len(figures.generated), 1)
    images = [c for counts in (figures.canary, figures.held_out) for c in counts]
    hardly = [c.label for c in figures.generated if c.before < SHOWN * even]
    return [label for label in hardly if sum(c.before for c in images if c.label == label) < ENOUGH]

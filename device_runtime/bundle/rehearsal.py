"""What a rehearsal at the workstation found: how this model learns best, and what the gate's measures are worth.

The workstation has what no box has: images of the history that were held out, and so the truth about an update. Short
updates of many kinds were played there (`tools/rehearsal`). Each bound is just below the least share that an update
without harm had, with how many of those that did harm fall short of it; the gate holds updates to those that told any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

MEASURES = ("agreement", "class agreement", "canary", "class canary")
"""Of what the solver before had right, the share that the updated one has: of generated inputs and of canary images, of
all and of the class that lost most."""
LEAST_BOUND = 0.3
"""A bound below it would let nearly anything pass."""


@dataclass(frozen=True)
class Bound:
    """What a measure must reach, and of the updates of the rehearsal, how many it was right about."""

    least: float
    told: int
    """Of those that did harm, how many fall short of it."""
    harmful: int
    refused: int
    """Of those that did none, how many fall short of it all the same."""
    harmless: int

    @property
    def tells(self) -> bool:
        """Whether most of the harm was told by it."""
        return 2 * self.told > self.harmful

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Bound:
        """What `dataclasses.asdict` made, read from JSON. Raises KeyError, TypeError or ValueError."""
        least = values["least"]
        counts = [values[name] for name in ("told", "harmful", "refused", "harmless")]
        if type(least) is not float or not all(type(count) is int for count in counts):
            raise TypeError("a bound is no number with its counts")
        if not LEAST_BOUND <= least <= 1:
            raise ValueError(f"a bound of {least} is not between {LEAST_BOUND} and 1: nearly anything would pass")
        found = cls(least, *counts)
        if not 0 <= found.told <= found.harmful or not 0 <= found.refused <= found.harmless:
            raise ValueError("a bound is right about more updates than there were")
        return found


@dataclass(frozen=True)
class Rehearsal:
    """What `reverie rehearse` learnt of one bundle, from so many `updates`."""

    updates: int
    images: int
    """Held-out images that they were played with."""
    bounds: dict[str, Bound] = field(default_factory=dict)
    """By those of MEASURES that were there."""
    synthesis: bool = True
    """Whether stages 3 to 5 run where nothing else is asked for."""
    learning_rate: float = 1.0
    """Of stage 2, as a share of the default."""
    gains: dict[str, float] = field(default_factory=dict)
    """Choice → by how many points of all classes it was better than the other, or worse."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Rehearsal:
        """What `dataclasses.asdict` made, read from JSON. Raises KeyError, TypeError or ValueError."""
        bounds = {name: Bound.from_json(bound) for name, bound in values["bounds"].items()}
        gains = {str(name): float(gain) for name, gain in values["gains"].items()}
        found = cls(values["updates"], values["images"], bounds, values["synthesis"], values["learning_rate"], gains)
        if type(found.updates) is not int or type(found.images) is not int or type(found.synthesis) is not bool:
            raise TypeError("a rehearsal is not stated by its updates, images and choices")
        if not bounds.keys() <= set(MEASURES):
            raise ValueError(f"there is no measure {', '.join(bounds.keys() - set(MEASURES))}")
        if type(found.learning_rate) is not float or not 0 < found.learning_rate <= 1:
            raise ValueError(f"{found.learning_rate} is no share of a learning rate")
        if not all(math.isfinite(gain) for gain in gains.values()):
            raise ValueError("a gain of a rehearsal is no number")
        return found

"""What became of each update that `reverie bench harm` played, as a file keeps it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from reverie.device_runtime.errors import ReverieError
from reverie.tools.output_file import replace_output

PROMOTED, REFUSED, HELD_BACK, SKIPPED = "promoted", "refused", "held back", "skipped"


class Score(NamedTuple):
    """Of test images: how many, how many were right before, and how many of them were lost and of the others won."""

    of: int
    before: int
    lost: int
    won: int

    @property
    def after(self) -> int:
        """Right after the update."""
        return self.before - self.lost + self.won

    @property
    def change(self) -> float:
        """Of the share that is right."""
        return (self.won - self.lost) / self.of if self.of else 0.0

    @property
    def error(self) -> float:
        """Standard error of `change`, as the same images were asked before and after."""
        return math.sqrt(self.lost + self.won) / self.of if self.of else 0.0

    @property
    def harmed(self) -> bool:
        """Whether fewer are right, beyond two standard errors."""
        return self.change < -2 * self.error


def total(scores: Iterable[Score]) -> Score:
    """Of all their images."""
    return Score(*map(sum, zip(Score(0, 0, 0, 0), *scores, strict=True)))


@dataclass(frozen=True)
class Outcome:
    """One update. `scores` are by class then known, of what it made; none where nothing was made."""

    kind: str
    seed: int
    honest: bool
    outcome: str
    """PROMOTED; REFUSED by the gate; HELD_BACK before it began, by the intake; SKIPPED for want of images."""
    why: str = ""
    frames: int = 0
    mislabelled: float = 0.0
    """Share of the frames whose label is not of what they show."""
    known: tuple[str, ...] = ()
    """Classes known before."""
    shown: tuple[str, ...] = ()
    """Labels that were given, and classes that were shown under whatever label."""
    scores: dict[str, Score] = field(default_factory=dict)
    seconds: float = 0.0
    settings: str = ""
    """Digest of bundle and images."""

    @property
    def serves(self) -> bool:
        """Whether what it made serves."""
        return self.outcome == PROMOTED

    @property
    def all(self) -> Score:
        """Over all classes then known."""
        return total(self.scores.values())

    @property
    def old(self) -> Score:
        """Over the classes known before."""
        return total(score for label, score in self.scores.items() if label in self.known)

    @property
    def not_shown(self) -> dict[str, Score]:
        """Of the known classes that the update had nothing to do with."""
        return {label: s for label, s in self.scores.items() if label in self.known and label not in self.shown}

    @property
    def new(self) -> dict[str, Score]:
        """Of the classes that it learnt."""
        return {label: score for label, score in self.scores.items() if label not in self.known}

    def told(self) -> str:
        """In one line."""
        figures = f", {self.all.lost} lost, {self.all.won} won" if self.scores else ""
        words = f" ({self.why})" if self.why else ""
        return f"{self.kind}, seed {self.seed}: {self.outcome}{figures}{words}"


def save_outcomes(outcomes: list[Outcome], path: Path) -> None:
    """Write `outcomes` as JSON. Raises OSError."""
    plain = [
        dataclasses.asdict(o) | {"scores": {label: score._asdict() for label, score in o.scores.items()}}
        for o in outcomes
    ]
    replace_output(path, json.dumps(plain, indent=1) + "\n")


def load_outcomes(path: Path) -> list[Outcome]:
    """What `save_outcomes` wrote. Raises ReverieError."""
    try:
        return [_outcome(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ReverieError(f"{path} holds no figures of reverie bench harm: give what --output wrote") from error


def _outcome(
    scores: dict[str, dict[str, int]], known: Iterable[str], shown: Iterable[str], **values: object
) -> Outcome:
    plain = Outcome(**values)  # type: ignore[arg-type]
    return dataclasses.replace(
        plain, known=tuple(known), shown=tuple(shown), scores={label: Score(**s) for label, s in scores.items()}
    )

"""A long life: one home, many updates, light that drifts, classes that come and come again. What is left in the end?"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.home import store
from reverie.device_runtime.method.randomness import rng_for
from reverie.tools.bench.harm.exam import Exam
from reverie.tools.bench.harm.images import Files
from reverie.tools.bench.harm.kinds import Frame, Material, honest_frames
from reverie.tools.bench.harm.outcomes import PROMOTED, total
from reverie.tools.bench.harm.playing import show, write_frames

FRAMES = 40
"""Of an update, of all its classes together."""
SHOWN = 2
"""Classes of an update, one of them new in every tenth."""
EVERY = 10
DARKEST = 0.5
"""Of the light of the first update, what is left of it in the last."""


@dataclass(frozen=True)
class Lived:
    """The home after one update: what became of that, and what it has and weighs."""

    number: int
    outcome: str
    why: str
    shown: tuple[str, ...]
    known: float
    """Share of test images of the bundle's own classes that is right."""
    new: float | None
    """Of the classes that came later; None before the first of them."""
    seconds: float
    peak_bytes: int
    """Of the memory, in the stage that needed most; 0 where no stage ran."""
    disk_bytes: int


def live(bundle: Path, files: Files, updates: int, seed: int, *, even_without_gain: bool = False) -> Iterator[Lived]:
    """Install `bundle`, and show it one update after another, which serve `even_without_gain`. Raises ReverieError."""
    default = UpdateConfig()
    promotion = dataclasses.replace(default.promotion, gain=-1.0 if even_without_gain else default.promotion.gain)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        models = store.load_models(home, installation.install(bundle, home))
        material = files.material(models)
        exam = Exam(files.tested, (*material.known, *material.new), models)
        for number in range(updates):
            rng = rng_for(seed, "life", number)
            labels = _labels(material, number, rng)
            light = 1 - (1 - DARKEST) * number / max(updates - 1, 1)
            write_frames(_frames(material, labels, light, rng), home.parent / "shown")
            began = time.monotonic()
            outcome, why = show(home, home.parent / "shown", UpdateConfig(seed=seed + number, promotion=promotion))
            seconds = time.monotonic() - began
            shutil.rmtree(home.parent / "shown")
            generation = store.read_generation(home)
            scores = exam.scores(store.load_models(home, generation), frozenset())
            new = total(score for label, score in scores.items() if label not in material.known)
            known = total(score for label, score in scores.items() if label in material.known)
            report = store.read_report(home, generation.name) if outcome == PROMOTED else None
            stages = (report or {}).get("stages", {}).values()
            yield Lived(
                number + 1,
                outcome,
                why,
                tuple(labels),
                known.after / known.of,
                new.after / new.of if new.of else None,
                seconds,
                max((stage["peak_bytes"] for stage in stages), default=0),
                sum(path.stat().st_size for path in home.rglob("*") if path.is_file()),
            )


def _labels(material: Material, number: int, rng: np.random.Generator) -> list[str]:
    """A class that is known and one more, which is the next new one in every tenth update."""
    come = material.new[: number // EVERY]
    again = rng.permutation([*material.known, *come])[:SHOWN].tolist()
    next_new = material.new[number // EVERY : number // EVERY + 1]
    return [*again[: SHOWN - 1], *next_new] if next_new and number % EVERY == EVERY - 1 else again


def _frames(material: Material, labels: Sequence[str], light: float, rng: np.random.Generator) -> list[Frame]:
    frames = [frame for label in labels for frame in honest_frames(material, label, FRAMES // SHOWN, rng)]
    return [frame._replace(image=(frame.image * light).astype(np.uint8)) for frame in frames]


def to_rows(lived: Sequence[Lived]) -> list[tuple[str, ...]]:
    """A row for each update, as a table shows it."""
    return [
        (
            str(one.number),
            ", ".join(one.shown),
            one.outcome,
            f"{100 * one.known:.1f}",
            "" if one.new is None else f"{100 * one.new:.1f}",
            f"{one.seconds:.1f}",
            f"{one.peak_bytes / 1e6:.0f}" if one.peak_bytes else "",
            f"{one.disk_bytes / 1e6:.1f}",
        )
        for one in lived
    ]


HEADINGS = ("update", "shown", "outcome", "known, %", "new, %", "seconds", "memory, MB", "disk, MB")

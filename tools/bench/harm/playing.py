"""One update after another, each on a home of its own as a box has it: installed, taken in, judged, tested."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2

from reverie.device_runtime.changes import gathering, installation, transaction
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import FramesError, TrainingError, UpdateError
from reverie.device_runtime.home import store
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.randomness import rng_for
from reverie.tools.bench.harm.exam import Exam
from reverie.tools.bench.harm.honest import HONEST, RELIT
from reverie.tools.bench.harm.images import Files
from reverie.tools.bench.harm.kinds import Frame, Material
from reverie.tools.bench.harm.outcomes import HELD_BACK, PROMOTED, REFUSED, SKIPPED, Outcome
from reverie.tools.bench.harm.wrong import WRONG

KINDS = HONEST | WRONG
"""Name → what makes the frames."""


class Played(NamedTuple):
    """What became of an update, why, and what it made, whether that serves or not."""

    outcome: str
    why: str
    made: Models | None


def play_kinds(bundle: Path, files: Files, runs: Sequence[tuple[str, int]]) -> Iterator[Outcome]:
    """Play each of `runs`, a kind of KINDS and a seed. Raises ReverieError."""
    if not runs:
        return
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        models = store.load_models(home, installation.install(bundle, home))
        material = files.material(models)
        exam = Exam(files.tested, (*material.known, *material.new), models)
        for kind, seed in runs:
            began = time.monotonic()
            try:
                frames = KINDS[kind](material, rng_for(seed, f"harm: {kind}"))
            except FramesError as error:
                yield Outcome(kind, seed, kind in HONEST, SKIPPED, str(error))
                continue
            with tempfile.TemporaryDirectory() as where:
                played = _play(bundle, Path(where), frames, seed, kind in HONEST)
                outcome = _outcome(kind, seed, played, frames, material)
                if played.made is not None:
                    relit = frozenset(outcome.shown if kind in RELIT else ())
                    outcome = dataclasses.replace(outcome, scores=exam.scores(played.made, relit))
            yield dataclasses.replace(outcome, seconds=time.monotonic() - began)


def _play(bundle: Path, where: Path, frames: Sequence[Frame], seed: int, honest: bool) -> Played:
    """Show `frames` to a new box in `where`; if honest ones are held back, one that checks none says what is missed."""
    write_frames(frames, where / "frames")
    played = update(bundle, where / "home", where / "frames", UpdateConfig(seed=seed))
    if played.made is None and honest:
        config = UpdateConfig(seed=seed)
        config = dataclasses.replace(config, intake=dataclasses.replace(config.intake, check=False))
        played = played._replace(made=update(bundle, where / "trusting", where / "frames", config).made)
    return played


def update(bundle: Path, home: Path, folder: Path, config: UpdateConfig) -> Played:
    """Install `bundle` into the new `home` and show it the frames in `folder`. Raises ReverieError."""
    installation.install(bundle, home)
    outcome, why = show(home, folder, config)
    if outcome == HELD_BACK:
        return Played(outcome, why.replace(f"{folder}/", ""), None)
    if outcome == REFUSED:
        made = [store.load_models(home, _rejected(home, name)) for name in store.rejected(home)]
        return Played(outcome, why, made[-1] if made else None)
    serving = store.read_generation(home)
    return Played(outcome, _set_aside(home, serving.name), store.load_models(home, serving))


def show(home: Path, folder: Path, config: UpdateConfig) -> tuple[str, str]:
    """What becomes of an update of `home` with the frames in `folder`, and why it does not serve."""
    with transaction.changing(home) as journal:
        try:
            gathering.begin(home, journal, folder, config)
        except FramesError as error:
            return HELD_BACK, str(error)
        try:
            transaction.go_on(home, journal)
        except (UpdateError, FramesError, TrainingError):
            return REFUSED, journal.updates()[-1].message or ""
    return PROMOTED, ""


def write_frames(frames: Sequence[Frame], folder: Path) -> None:
    """Into the new `folder`, without loss, as `reverie update --frames` takes them."""
    for number, frame in enumerate(frames):
        (folder / frame.label).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / frame.label / f"{number:06d}.png"), frame.image)


def _rejected(home: Path, name: str) -> store.Generation:
    folder = name + store.REJECTED
    return dataclasses.replace(store.read_generation(home, folder), name=folder)


def _set_aside(home: Path, name: str) -> str:
    report = store.read_report(home, name) or {}
    reasons: Counter[str] = Counter()
    for counts in report.get("set_aside", {}).values():
        reasons.update(counts)
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def _outcome(kind: str, seed: int, played: Played, frames: Sequence[Frame], material: Material) -> Outcome:
    return Outcome(
        kind=kind,
        seed=seed,
        honest=kind in HONEST,
        outcome=played.outcome,
        why=played.why,
        frames=len(frames),
        mislabelled=sum(frame.label != frame.truth for frame in frames) / len(frames),
        known=material.known,
        shown=tuple(sorted({name for frame in frames for name in (frame.label, frame.truth) if name})),
    )

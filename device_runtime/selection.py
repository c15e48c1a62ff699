"""Which of the frames that an update is shown it learns, and which are set aside and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reverie.device_runtime import intake
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.engine import Graph
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.frames import Frames, label_files
from reverie.device_runtime.images import decode_image
from reverie.device_runtime.inputs import CHUNK, InputMaker
from reverie.device_runtime.models import run_in_chunks


class Shown(NamedTuple):
    """One frame that an update is shown; `trusted` ones were looked at by somebody and are not checked."""

    label: str
    where: object
    read: Callable[[], bytes]
    trusted: bool = False


@dataclass
class Selection:
    """`frames` are learnt, in the order of the numbers `taken` of those shown; `set_aside` has number and reason."""

    frames: Frames
    taken: list[int]
    set_aside: dict[int, str] = field(default_factory=dict)

    def counts(self, shown: Sequence[Shown]) -> dict[str, dict[str, int]]:
        """How many of each label were set aside for each reason."""
        return {
            label: dict(Counter(reason for at, reason in self.set_aside.items() if shown[at].label == label))
            for label in sorted({shown[at].label for at in self.set_aside})
        }


def shown_in(folder: Path, min_images: int) -> list[Shown]:
    """All of `folder/LABEL/*.png|jpg`. Raises FramesError naming the first thing wrong."""
    return [Shown(label, file, file.read_bytes) for label, files in label_files(folder, min_images) for file in files]


def select(
    shown: Sequence[Shown],
    make: InputMaker,
    solver: Graph,
    classes: tuple[str, ...],
    config: UpdateConfig,
    done: Callable[[int, int], None] = lambda _at, _of: None,
) -> Selection:
    """Check all that is `shown`, and make inputs of what is learnt; `classes` are those that `solver` knows.

    `done` hears how many of how many are read. Raises FramesError if too few frames of a label are left.
    """
    aside: dict[int, str] = {}
    complaints: dict[str, str] = {}
    rows: list[int] = []
    inputs: list[np.ndarray] = []
    for part in _chunks(_checked(shown, make, config, aside, complaints), CHUNK):
        rows += [at for at, _ in part]
        inputs.append(make.of_prepared([prepared for _, prepared in part]))
        done(rows[-1] + 1, len(shown))
    made = np.concatenate(inputs) if inputs else np.empty(0, np.float32)
    kept = np.array([at not in aside for at in rows], bool)
    if config.intake.check and len(made):
        for at, seen in _mistaken(shown, rows, made, kept, solver, classes, config):
            aside[rows[at]] = f"looks like {seen}"
            kept[at] = False
    taken = [at for at, keep in zip(rows, kept, strict=True) if keep]
    _require_enough(shown, taken, aside, complaints, config.min_images)
    labels = tuple(sorted({shown[at].label for at in taken}))
    own = np.array([labels.index(shown[at].label) for at in taken])
    return Selection(Frames(made if kept.all() else made[kept], own, labels), taken, dict(sorted(aside.items())))


def _checked(
    shown: Sequence[Shown], make: InputMaker, config: UpdateConfig, aside: dict[int, str], complaints: dict[str, str]
) -> Iterator[tuple[int, np.ndarray]]:
    """Number and prepared image of each frame that no other contradicts so far; reasons go into `aside`."""
    earlier = intake.Earlier()
    taken: Counter[str] = Counter()
    for at, frame in enumerate(shown):
        if taken[frame.label] >= config.intake.max_per_class:
            aside[at] = intake.OVER_THE_CAP
            continue
        reason = intake.UNREADABLE
        try:
            image = decode_image(_read(frame), frame.where)
            reason = intake.WRONG_SIZE
            prepared = make.prepared(image, frame.where)
        except FramesError as error:
            aside[at] = reason
            complaints.setdefault(frame.label, str(error))
            continue
        if config.intake.check:
            seen = intake.look(image)
            match = None if frame.trusted else earlier.match(seen, frame.label, config.intake)
            flaw = None if frame.trusted else intake.flaw(image, config.intake) or (match.reason if match else None)
            if flaw is not None:
                aside[at] = flaw
                if match is not None and match.contradicts and not shown[match.key].trusted:
                    aside.setdefault(match.key, intake.contradiction(frame.label))
                continue
            earlier.add(at, frame.label, seen)
        taken[frame.label] += 1
        yield at, prepared


def _mistaken(
    shown: Sequence[Shown],
    rows: list[int],
    made: np.ndarray,
    kept: np.ndarray,
    solver: Graph,
    classes: tuple[str, ...],
    config: UpdateConfig,
) -> Iterator[tuple[int, str]]:
    """Places in `rows` of the frames whose label the solver contradicts, and the class that it sees instead."""
    labels = np.array([shown[at].label for at in rows])
    for slot, label in enumerate(classes):
        own = np.flatnonzero((labels == label) & kept)
        if len(own):
            probabilities = run_in_chunks(solver, "probabilities", input=made[own])[:, : len(classes)]
            wrong = intake.mistaken(probabilities, slot, config.intake)
            for at, seen in zip(own[wrong].tolist(), probabilities[wrong].argmax(axis=1), strict=True):
                if not shown[rows[at]].trusted:
                    yield at, classes[seen]


def _require_enough(
    shown: Sequence[Shown], taken: list[int], aside: dict[int, str], complaints: dict[str, str], least: int
) -> None:
    left = Counter(shown[at].label for at in taken)
    for label, count in Counter(frame.label for frame in shown).items():
        if left[label] < max(least, 1):
            reasons = Counter(reason for at, reason in aside.items() if shown[at].label == label)
            told = ", ".join(f"{n} {reason}" for reason, n in reasons.items()) or "none"
            first = f" ({complaints[label]})" if label in complaints else ""
            raise FramesError(
                f"{label} has {left[label]} of {count} frames left, at least {least} are needed; "
                f"set aside: {told}{first}; show more frames, or take all that can be read with --take-all"
            )


def _read(frame: Shown) -> bytes:
    try:
        return frame.read()
    except OSError:
        return b""


def _chunks(items: Iterator[tuple[int, np.ndarray]], size: int) -> Iterator[list[tuple[int, np.ndarray]]]:
    part: list[tuple[int, np.ndarray]] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part

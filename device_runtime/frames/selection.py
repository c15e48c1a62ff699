"""Which of the frames that an update is shown it learns, and which are set aside and why."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from reverie.device_runtime.camera.images import decode_image
from reverie.device_runtime.camera.inputs import CHUNK, InputMaker
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.frames import intake
from reverie.device_runtime.home.row_files import Scratch
from reverie.device_runtime.method.labelled import Frames, label_files
from reverie.device_runtime.method.rows import Chosen, Rows, in_chunks


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


def without(selection: Selection, aside: Mapping[int, str]) -> Selection:
    """`selection` without the rows of its frames that are `aside`, set aside for the reasons there."""
    frames = selection.frames
    rows = np.flatnonzero(~np.isin(np.arange(len(frames.labels)), list(aside)))
    reasons = {selection.taken[row]: reason for row, reason in aside.items()}
    return Selection(
        frames.chosen(rows),
        [selection.taken[row] for row in rows],
        dict(sorted((selection.set_aside | reasons).items())),
    )


class OnDemand(Sequence[Shown]):
    """`count` frames, the n-th made by `make` whenever it is asked for: there may be too many to hold in memory."""

    def __init__(self, count: int, make: Callable[[int], Shown]) -> None:
        self._numbers = range(count)
        self._make = make

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> Shown: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Shown]: ...

    def __getitem__(self, at: int | slice) -> Shown | Sequence[Shown]:
        return self._make(self._numbers[at]) if isinstance(at, int) else [self._make(n) for n in self._numbers[at]]


def shown_in(folder: Path, min_images: int) -> Sequence[Shown]:
    """All of `folder/LABEL/*.png|jpg`. Raises FramesError naming the first thing wrong."""
    labelled = label_files(folder, min_images)
    ends = list(accumulate(len(names) for _, names in labelled))

    def shown(number: int) -> Shown:
        at = bisect_right(ends, number)
        label, names = labelled[at]
        file = folder / label / names[number - ends[at]]
        return Shown(label, file, file.read_bytes)

    return OnDemand(ends[-1], shown)


def select(
    shown: Sequence[Shown],
    make: InputMaker,
    solver: Graph,
    classes: tuple[str, ...],
    config: UpdateConfig,
    home: Path,
    done: Callable[[int, int], None] = lambda _at, _of: None,
) -> Selection:
    """Check all that is `shown`, and make inputs of what is learnt; `classes` are those that `solver` knows.

    Inputs lie on the disk of `home`, in a file without a name. `done` hears how many of how many are read. Raises
    FramesError if too few frames of a label are left, StorageError.
    """
    aside: dict[int, str] = {}
    complaints: dict[str, str] = {}
    rows = array("q")
    made = Scratch(home, make.shape)
    for part in _chunks(_checked(shown, make, config, home, aside, complaints), CHUNK):
        rows.extend(at for at, _ in part)
        made.append(make.of_prepared([prepared for _, prepared in part]))
        done(rows[-1] + 1, len(shown))
    kept = np.array([at not in aside for at in rows], bool)
    own = [shown[at].label for at in rows]
    if config.intake.check:
        for at, seen in _mistaken(own, made, kept, solver, classes, config):
            if not shown[rows[at]].trusted:
                aside[rows[at]] = intake.looks_like(seen)
                kept[at] = False
    places = np.flatnonzero(kept)
    taken = [rows[at] for at in places]
    _require_enough(shown, taken, aside, complaints, config)
    labels = tuple(sorted({own[at] for at in places}))
    slots = {label: slot for slot, label in enumerate(labels)}
    frames = Frames(Chosen(made, places), np.array([slots[own[at]] for at in places]), labels)
    return Selection(frames, taken, dict(sorted(aside.items())))


def _checked(
    shown: Sequence[Shown],
    make: InputMaker,
    config: UpdateConfig,
    home: Path,
    aside: dict[int, str],
    complaints: dict[str, str],
) -> Iterator[tuple[int, np.ndarray]]:
    """Number and prepared image of each frame that no other contradicts so far; reasons go into `aside`."""
    earlier = intake.Earlier(Scratch(home, (intake.SIZE,), np.uint8))
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
    own: list[str], made: Rows, kept: np.ndarray, solver: Graph, classes: tuple[str, ...], config: UpdateConfig
) -> Iterator[tuple[int, str]]:
    """Numbers of the inputs `made` whose label, in `own`, the solver contradicts, and the class that it sees."""
    known = {label: slot for slot, label in enumerate(classes)}
    slots = np.array([known.get(label, -1) for label in own], np.int64)
    for slot in range(len(classes)):
        places = np.flatnonzero((slots == slot) & kept)
        seen, sure = np.empty(len(places), np.int64), np.empty(len(places), np.float32)
        start = 0
        for part in in_chunks(Chosen(made, places)):
            probabilities = solver.run({"input": part})["probabilities"][:, : len(classes)]
            seen[start : start + len(part)] = probabilities.argmax(axis=1)
            sure[start : start + len(part)] = probabilities.max(axis=1)
            start += len(part)
        for at in np.flatnonzero(intake.mistaken(seen, sure, slot, config.intake)):
            yield int(places[at]), classes[seen[at]]


def _require_enough(
    shown: Sequence[Shown], taken: list[int], aside: dict[int, str], complaints: dict[str, str], config: UpdateConfig
) -> None:
    left = Counter(shown[at].label for at in taken)
    least = config.min_images
    for label, count in Counter(frame.label for frame in shown).items():
        if left[label] < max(least, 1):
            reasons = Counter(reason for at, reason in aside.items() if shown[at].label == label)
            told = ", ".join(f"{n} {reason}" for reason, n in reasons.items()) or "none"
            first = f" ({complaints[label]})" if label in complaints else ""
            readable = config.intake.check and reasons.keys() - {intake.UNREADABLE, intake.WRONG_SIZE}
            take = ", or take all that can be read with --take-all" if readable else ""
            raise FramesError(
                f"{label} has {left[label]} of {count} frames left, at least {least} are needed; "
                f"set aside: {told}{first}; show more frames{take}"
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

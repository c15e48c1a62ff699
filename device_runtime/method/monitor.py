"""What an update shows and saves of itself while it runs: stage, step, loss, seconds, peak memory, its state."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

STAGES = {
    "frames": 0.05,
    "replay": 0.02,
    "fine-tune": 0.23,
    "synthesis": 0.1,
    "retrain": 0.1,
    "generative update": 0.5,
}
"""Reading the frames and the stages of the method, and the share of an update's time that each usually takes."""


@dataclass(frozen=True)
class Progress:
    """One moment of an update. `share` is of the whole update, in [0, 1]; `seconds` since its start."""

    stage: str
    step: int
    steps: int
    loss: float | None
    share: float
    seconds: float


Listener = Callable[[Progress], None]

State = dict[str, np.ndarray]
"""All that a stage must know again in order to go on after a cut."""


class Keeper(Protocol):
    """Where the states of stages are kept."""

    def load(self, stage: str) -> State | None:
        """What `stage` saved last."""

    def save(self, stage: str, step: int, state: State) -> None:
        """Keep `state` of `stage` after `step`, in place of what it saved before."""


@dataclass
class StageRecord:
    """What is kept of one stage."""

    seconds: float = 0.0
    peak_bytes: int = 0
    steps: int = 0
    losses: list[float] = field(default_factory=list)

    def to_state(self, spent: float) -> State:
        """What `Monitor.resume` takes these figures from, `spent` seconds after the update began."""
        figures = np.array([spent, self.seconds, self.peak_bytes, self.steps])
        return {"monitor": figures, "monitor.losses": np.array(self.losses, np.float64)}


class Monitor:
    """Collects a StageRecord for each stage, tells listeners how far the update is, and saves how far it has come.

    Seconds, peaks and losses of a stage go on after a cut from what was saved: they are those of all attempts.
    """

    def __init__(
        self,
        listener: Listener | None = None,
        max_minutes: float | None = None,
        keeper: Keeper | None = None,
        save_seconds: float = 30.0,
    ) -> None:
        """A stage is saved to `keeper` every `save_seconds` and at its end."""
        self.records: dict[str, StageRecord] = {}
        self._listener = listener
        self._limit = None if max_minutes is None else 60 * max_minutes
        self._keeper = keeper
        self._save_seconds = save_seconds
        self._started = self._saved = self._stage_started = time.monotonic()
        self.now = ""
        """The stage that runs."""

    @contextmanager
    def stage(self, name: str) -> Iterator[StageRecord]:
        """Measure what runs inside as the stage `name`, one of STAGES."""
        self.now = name
        record = self.records[name] = StageRecord()
        _reset_peak_memory()
        self._stage_started = time.monotonic()
        try:
            yield record
        finally:
            self._measure(record)

    def resume(self) -> State | None:
        """What the current stage saved last, None if it is to begin."""
        state = None if self._keeper is None else self._keeper.load(self.now)
        if state is None:
            return None
        record = self.records[self.now]
        spent, record.seconds, peak_bytes, steps = state.pop("monitor").tolist()
        record.peak_bytes, record.steps = int(peak_bytes), int(steps)
        record.losses = state.pop("monitor.losses").tolist()
        self._started = min(self._started, time.monotonic() - spent)
        return state

    def should_save(self, done: bool) -> bool:
        """Whether it is time for `save`; `done` says that the stage has come to its end."""
        return self._keeper is not None and (done or time.monotonic() - self._saved >= self._save_seconds)

    def save(self, state: State) -> None:
        """Keep `state` of the current stage, from which it goes on after a cut."""
        if self._keeper is not None:
            record = self.records[self.now]
            self._measure(record)
            measured = record.to_state(time.monotonic() - self._started)
            self._keeper.save(self.now, record.steps, state | measured)
            self._saved = time.monotonic()

    def _measure(self, record: StageRecord) -> None:
        now = time.monotonic()
        record.seconds += now - self._stage_started
        record.peak_bytes = max(record.peak_bytes, peak_memory())
        self._stage_started = now

    def step(self, step: int, steps: int, loss: float | None = None) -> None:
        """Note that `step` of `steps` of the current stage is done, with its loss."""
        self.records[self.now].steps = step
        if loss is not None:
            self.records[self.now].losses.append(loss)
        if self._listener is not None:
            before = self._share_before(self.now)
            share = before + STAGES[self.now] * step / max(steps, 1)
            self._listener(Progress(self.now, step, steps, loss, share, time.monotonic() - self._started))

    def out_of_time(self) -> bool:
        """Whether the current stage has used up its part of the time limit."""
        if self._limit is None:
            return False
        until = self._share_before(self.now) + STAGES[self.now]
        return time.monotonic() - self._started > until * self._limit

    @property
    def elapsed(self) -> float:
        """Seconds since the update began, or began anew."""
        return time.monotonic() - self._started

    def is_past_half(self) -> bool:
        """Whether more than half of the time limit is used up."""
        return self._limit is not None and 2 * self.elapsed > self._limit

    def take_off(self, seconds: float) -> None:
        """`seconds` of the time limit went before the update began anew."""
        if self._limit is not None:
            self._limit -= seconds

    @staticmethod
    def _share_before(stage: str) -> float:
        names = list(STAGES)
        return sum(STAGES[name] for name in names[: names.index(stage)])


def peak_memory() -> int:
    """Peak resident bytes of this process since the last reset, 0 where the system does not tell."""
    return _memory("VmHWM:")


def resident_memory() -> int:
    """Resident bytes of this process, 0 where the system does not tell."""
    return _memory("VmRSS:")


def _memory(name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def _reset_peak_memory() -> None:
    with contextlib.suppress(OSError):  # without it the peak is that of the whole process so far
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

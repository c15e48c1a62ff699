"""What an update shows of itself while it runs: stage, step, loss, seconds, peak memory, and its time limit."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

STAGES = {
    "frames": 0.05,
    "replay": 0.05,
    "fine-tune": 0.3,
    "synthesis": 0.15,
    "retrain": 0.15,
    "generative update": 0.3,
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


@dataclass
class StageRecord:
    """What is kept of one stage."""

    seconds: float = 0.0
    peak_bytes: int = 0
    steps: int = 0
    losses: list[float] = field(default_factory=list)


class Monitor:
    """Collects a StageRecord for each stage and tells listeners how far the update is."""

    def __init__(self, listener: Listener | None = None, max_minutes: float | None = None) -> None:
        self.records: dict[str, StageRecord] = {}
        self._listener = listener
        self._limit = None if max_minutes is None else 60 * max_minutes
        self._started = time.monotonic()
        self._stage = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[StageRecord]:
        """Measure what runs inside as the stage `name`, one of STAGES."""
        self._stage = name
        record = self.records[name] = StageRecord()
        _reset_peak_memory()
        started = time.monotonic()
        try:
            yield record
        finally:
            record.seconds = time.monotonic() - started
            record.peak_bytes = peak_memory()

    def step(self, step: int, steps: int, loss: float | None = None) -> None:
        """Note that `step` of `steps` of the current stage is done, with its loss."""
        self.records[self._stage].steps = step
        if loss is not None:
            self.records[self._stage].losses.append(loss)
        if self._listener is not None:
            before = self._share_before(self._stage)
            share = before + STAGES[self._stage] * step / max(steps, 1)
            self._listener(Progress(self._stage, step, steps, loss, share, time.monotonic() - self._started))

    def out_of_time(self) -> bool:
        """Whether the current stage has used up its part of the time limit."""
        if self._limit is None:
            return False
        until = self._share_before(self._stage) + STAGES[self._stage]
        return time.monotonic() - self._started > until * self._limit

    @staticmethod
    def _share_before(stage: str) -> float:
        names = list(STAGES)
        return sum(STAGES[name] for name in names[: names.index(stage)])


def peak_memory() -> int:
    """Peak resident bytes of this process since the last reset, 0 where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _reset_peak_memory() -> None:
    with contextlib.suppress(OSError):  # without it the peak is that of the whole process so far
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

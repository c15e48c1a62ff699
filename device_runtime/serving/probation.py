"""How the generation in service does: predictions made and failed, counted across processes and without their waiting.

Each generation has a file of its own, so that one is never counted for another, and what is begun for a generation that
does not serve in the end changes nothing for the one that does. The file is a line of JSON, then one byte for each
event, appended by whoever predicts: no lock, and no sync but for failures, so that a cut costs a few counts of
predictions and none of failures. Who may not write still predicts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from reverie.device_runtime.home import disk

FAILURES = 3
"""Failures after which a generation has failed: any during probation, in a row afterwards."""
PASSED, FAILED = b".", b"x"


@dataclass(frozen=True)
class Standing:
    """How `generation` does. It is on probation until it made `predictions`; then all but `keep` generations may go."""

    generation: str
    parent: str | None
    predictions: int
    keep: int
    passed: int = 0
    failed: int = 0

    @property
    def on_probation(self) -> bool:
        """Whether it must still prove itself."""
        return self.predictions > 0

    @property
    def confirmed(self) -> bool:
        """Whether its probation is over, though nobody has noted that yet."""
        return self.on_probation and self.passed >= self.predictions and not self.given_up

    @property
    def given_up(self) -> bool:
        """Whether it failed too often to serve on."""
        return self.failed >= FAILURES


def file_of(home: Path, name: str) -> Path:
    """Where generation `name` is counted."""
    return home / f"probation-{name}"


def begin(home: Path, standing: Standing) -> None:
    """Count anew, for a generation that is about to serve. Raises OSError."""
    values = {n: getattr(standing, n) for n in ("generation", "parent", "predictions", "keep")}
    disk.replace(file_of(home, standing.generation), json.dumps(values).encode() + b"\n")


def collect(home: Path, serving: str) -> None:
    """Remove the counts of all generations but the one that serves. Raises OSError."""
    for path in home.glob("probation*"):
        if path != file_of(home, serving):
            disk.remove(path)


def read(home: Path, name: str) -> Standing | None:
    """How generation `name` does, None where it is not counted or the file is damaged."""
    try:
        header, _, marks = file_of(home, name).read_bytes().partition(b"\n")
        standing = Standing(**json.loads(header))
        failed = marks.count(FAILED) if standing.on_probation else len(marks) - len(marks.rstrip(FAILED))
        return dataclasses.replace(standing, passed=marks.count(PASSED), failed=failed)
    except (OSError, ValueError, TypeError):
        return None


def is_on_probation(home: Path, name: str) -> bool:
    """Whether generation `name` must still prove itself."""
    standing = read(home, name)
    return standing is not None and standing.on_probation


class Probation:
    """Counts for one process that predicts with generation `name`."""

    def __init__(self, home: Path, name: str) -> None:
        """Without a file for `name`, nothing is counted."""
        self._home, self._name = home, name
        self._standing = read(home, name)
        self._left = 0
        if self._standing is not None:
            failing = self._standing.failed > 0
            self._left = max(self._standing.predictions - self._standing.passed, 1 if failing else 0)

    def passed(self) -> bool:
        """Count a prediction; whether it was the last of the probation. Costs nothing once that is over."""
        if self._left <= 0:
            return False
        self._append(PASSED)
        self._left -= 1
        return self._left == 0

    def failed(self) -> bool:
        """Count a failure to load or to predict; whether the generation has failed too often now."""
        if self._standing is None:
            return False
        self._append(FAILED, sync=True)
        self._left = max(self._left, 1)
        standing = read(self._home, self._name)
        return standing is not None and standing.given_up

    def _append(self, mark: bytes, *, sync: bool = False) -> None:
        with contextlib.suppress(OSError):
            disk.append(file_of(self._home, self._name), mark, sync=sync)

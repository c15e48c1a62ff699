"""How the generation in service does: predictions made and failed, counted across processes and without their waiting.

The file is a line of JSON, then one byte for each event, appended by whoever predicts: no lock, and no sync but for
failures, so that a cut costs a few counts of predictions and none of failures. Who may not write still predicts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from reverie.device_runtime import disk

FILE = "probation"
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


def begin(home: Path, standing: Standing) -> None:
    """Count anew, for a generation that is about to serve. Raises OSError."""
    values = {n: getattr(standing, n) for n in ("generation", "parent", "predictions", "keep")}
    disk.replace(home / FILE, json.dumps(values).encode() + b"\n")


def read(home: Path) -> Standing | None:
    """How the generation that was counted last does, None where none was or the file is damaged."""
    try:
        header, _, marks = (home / FILE).read_bytes().partition(b"\n")
        standing = Standing(**json.loads(header))
        failed = marks.count(FAILED) if standing.on_probation else len(marks) - len(marks.rstrip(FAILED))
        return dataclasses.replace(standing, passed=marks.count(PASSED), failed=failed)
    except (OSError, ValueError, TypeError):
        return None


class Probation:
    """Counts for one process that predicts with generation `name`."""

    def __init__(self, home: Path, name: str) -> None:
        """Without a file for `name`, nothing is counted."""
        self._path = home / FILE
        standing = read(home)
        self._standing = standing if standing is not None and standing.generation == name else None
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
        standing = read(self._path.parent)
        return standing is not None and standing.generation == self._standing.generation and standing.given_up

    def _append(self, mark: bytes, *, sync: bool = False) -> None:
        with contextlib.suppress(OSError):
            disk.append(self._path, mark, sync=sync)

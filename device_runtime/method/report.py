"""What an update changed, in figures: the table at the end and `report.json` in the generation."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.method.comparison import Comparison
from reverie.device_runtime.method.generative import coverage
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.monitor import Monitor, StageRecord

LOSS_POINTS = 200
"""A loss curve is kept as at most this many points."""


@dataclass(frozen=True)
class ClassResult:
    """One class on the held-out frames; `before` is None for a class that the previous solver did not know.

    Where all frames are learnt, all count as held out, each judged by what the others gave.
    """

    label: str
    frames: int
    held_out: int
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Report:
    """Figures of one update. Accuracies and shares are in [0, 1]."""

    classes: tuple[ClassResult, ...]
    agreement: float
    """Share of the previous generator's inputs on which the updated solver agrees with the previous one."""
    confusion: dict[str, dict[str, dict[str, int]]]
    """"before" and "after": of the held-out frames of each label, how many the solver took for which label."""
    coverage: dict[str, float]
    """Share of each class among the updated generator's inputs, as the updated solver sees them; empty where class
    statistics generate, which draw every class alike."""
    stages: dict[str, StageRecord]
    config: dict[str, Any] = field(default_factory=dict)
    engine: str = ""
    """What computed it, with its version."""

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries, loss curves thinned to LOSS_POINTS."""
        values = dataclasses.asdict(self)
        for stage in values["stages"].values():
            stage["losses"] = thinned(stage["losses"], LOSS_POINTS)
        return values


def make_report(
    previous: Models, updated: Models, compared: Comparison, config: UpdateConfig, monitor: Monitor
) -> Report:
    """What `compared` says of the two solvers, and what the monitor recorded."""
    results = []
    confusion: dict[str, dict[str, dict[str, int]]] = {"before": {}, "after": {}}
    for slot in np.unique(compared.live.labels):
        rows = compared.held_out.labels == slot
        held_out = int(rows.sum())
        right = {}
        for when, models, said in (
            ("before", previous, compared.held_out_before),
            ("after", updated, compared.held_out_after),
        ):
            seen = Counter(said[rows].tolist())
            confusion[when][updated.classes[slot]] = {models.classes[at]: count for at, count in sorted(seen.items())}
            right[when] = seen[slot] / held_out if held_out else None
        results.append(
            ClassResult(
                label=updated.classes[slot],
                frames=int((compared.live.labels == slot).sum()) + (0 if compared.each_left_out else held_out),
                held_out=held_out,
                before=right["before"] if slot < len(previous.classes) else None,
                after=right["after"],
            )
        )
    return Report(
        classes=tuple(results),
        agreement=compared.agreement,
        confusion=confusion,
        coverage=_coverage(updated, config.seed),
        stages=dict(monitor.records),
        config=dataclasses.asdict(config),
        engine=str(installed_engine()),
    )


def _coverage(updated: Models, seed: int) -> dict[str, float]:
    if not updated.manifest.has_generator:
        return {}
    return dict(zip(updated.classes, coverage(updated, seed), strict=True))


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of a report as JSON that outlive it, in the audit log: accuracies are means over labels."""
    rows = [row for row in report.get("classes", []) if row["after"] is not None]
    figures = {
        f"accuracy_{when}": float(np.mean([row[when] or 0.0 for row in rows])) for when in ("before", "after") if rows
    }
    if "agreement" in report:
        figures["agreement"] = report["agreement"]
    generator = report.get("promotion", {}).get("generator", {})
    return figures | ({"generator": "updated" if generator["promoted"] else "previous"} if generator else {})


def thinned(values: list[float], points: int) -> list[float]:
    """Means of at most `points` equal stretches of `values`."""
    if len(values) <= points:
        return values
    return [float(np.mean(part)) for part in np.array_split(np.asarray(values), points)]

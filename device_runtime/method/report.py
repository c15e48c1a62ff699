"""What an update changed, in figures: the table at the end and `report.json` in the generation."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.generative import coverage
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.monitor import Monitor, StageRecord
from reverie.device_runtime.method.noise import draw_noise
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import generate
from reverie.device_runtime.method.rows import Rows, in_chunks

AGREEMENT_SAMPLES = 1000
LOSS_POINTS = 200
"""A loss curve is kept as at most this many points."""


@dataclass(frozen=True)
class ClassResult:
    """One class on the held-out frames; `before` is None for a class that the previous solver did not know."""

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
    """Share of each class among the updated generator's inputs, as the updated solver sees them."""
    stages: dict[str, StageRecord]
    config: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries, loss curves thinned to LOSS_POINTS."""
        values = dataclasses.asdict(self)
        for stage in values["stages"].values():
            stage["losses"] = thinned(stage["losses"], LOSS_POINTS)
        return values


def make_report(
    previous: Models, updated: Models, live: Live, held_out: Live, config: UpdateConfig, monitor: Monitor
) -> Report:
    """Compare the two solvers on held-out frames and on generated inputs."""
    results = []
    confusion: dict[str, dict[str, dict[str, int]]] = {"before": {}, "after": {}}
    for slot in np.unique(live.labels):
        inputs = held_out.of(slot)
        known = slot < len(previous.classes)
        right = {}
        for when, models in (("before", previous), ("after", updated)):
            seen = Counter(predict(models, inputs).tolist()) if len(inputs) else Counter[int]()
            confusion[when][updated.classes[slot]] = {models.classes[at]: count for at, count in sorted(seen.items())}
            right[when] = seen[slot] / len(inputs) if len(inputs) else None
        results.append(
            ClassResult(
                label=updated.classes[slot],
                frames=int((live.labels == slot).sum()) + len(inputs),
                held_out=len(inputs),
                before=right["before"] if known else None,
                after=right["after"],
            )
        )
    noise, labels = draw_noise(previous, AGREEMENT_SAMPLES, rng_for(config.seed, "agreement"), balance=True)
    generated = generate(previous, noise, labels)
    agreement = float((predict(previous, generated) == predict(updated, generated)).mean())
    return Report(
        classes=tuple(results),
        agreement=agreement,
        confusion=confusion,
        coverage=dict(zip(updated.classes, coverage(updated, config.seed), strict=True)),
        stages=dict(monitor.records),
        config=dataclasses.asdict(config),
    )


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


def predict(models: Models, inputs: Rows) -> np.ndarray:
    """Class slot (N,) that the solver finds most likely."""
    seen = [models.solver_graph.run({"input": part})["logits"].argmax(axis=1) for part in in_chunks(inputs)]
    return np.concatenate([np.empty(0, np.int64), *seen])


def accuracy(models: Models, inputs: Rows, slots: np.ndarray | int) -> float:
    """Share of `inputs` (N, *S) that the solver puts into `slots`, (N,) or the same for all."""
    return float((predict(models, inputs) == slots).mean())


def thinned(values: list[float], points: int) -> list[float]:
    """Means of at most `points` equal stretches of `values`."""
    if len(values) <= points:
        return values
    return [float(np.mean(part)) for part in np.array_split(np.asarray(values), points)]

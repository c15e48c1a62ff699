"""What `reverie bench accuracy` measured, as files."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reverie.device_runtime.errors import ReverieError
from reverie.tools.output_file import replace_output


@dataclass(frozen=True)
class Run:
    """One form on one protocol with one seed. `matrix[i][j]`: accuracy on task j after update i (0: pretraining)."""

    dataset: str
    protocol: str
    form: str
    seed: int
    matrix: list[list[float]]
    weights: list[float]
    """Of each task in the accuracy of all."""
    seconds: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    confused: list[list[float]] = field(default_factory=list)
    """After each update: the share of old test images taken for new classes, and of new ones for old classes."""
    steps: list[int] = field(default_factory=list)
    """Optimizer steps of the solver in each update."""
    by_class: list[float] = field(default_factory=list)
    """Accuracy on each class slot after the last update."""
    coverage: list[dict[str, float]] = field(default_factory=list)
    agreement: list[float] = field(default_factory=list)
    unknown: dict[str, list[float]] = field(default_factory=dict)
    """As `unknown_figures` gives them, of the pretrained models."""
    settings: str = ""
    """Digest of images and options, where these are one's own."""
    pictures: dict[str, str] = field(default_factory=dict)
    """"generated" and "synthesised" inputs of the last update, PNG in base64."""

    def overall(self, update: int) -> float:
        """Accuracy on the tasks seen until `update`."""
        row = self.matrix[update]
        return float(np.average(row, weights=self.weights[: len(row)]))

    def old(self, update: int) -> float:
        """Accuracy on the tasks before `update`."""
        return float(np.average(self.matrix[update][:-1], weights=self.weights[:update]))

    def average_so_far(self) -> float:
        """The mean over all updates, the pretraining included, of the accuracy on the tasks seen until then.

        Average incremental accuracy (Rebuffi et al., "iCaRL", CVPR 2017).
        """
        return float(np.mean([self.overall(update) for update in range(len(self.matrix))]))

    def forgetting(self) -> float:
        """Best earlier minus final accuracy, the mean over all tasks but the last.

        Chaudhry et al., "Riemannian walk for incremental learning", ECCV 2018.
        """
        final = self.matrix[-1]
        best = [max(row[task] for row in self.matrix[:-1] if len(row) > task) for task in range(len(final) - 1)]
        return float(np.mean([b - final[task] for task, b in enumerate(best)])) if best else 0.0

    def backward_transfer(self) -> float:
        """Final accuracy minus that right after a task was learnt, the mean over all tasks but the last.

        Lopez-Paz & Ranzato, "Gradient episodic memory for continual learning", NeurIPS 2017.
        """
        final = self.matrix[-1]
        gained = [final[task] - self.matrix[task][task] for task in range(len(final) - 1)]
        return float(np.mean(gained)) if gained else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries, with the derived figures."""
        overall = [self.overall(update) for update in range(len(self.matrix))]
        derived = {"forgetting": self.forgetting(), "backward_transfer": self.backward_transfer()}
        return dataclasses.asdict(self) | {"overall": overall} | derived


def save_runs(runs: list[Run], path: Path, *, pictures: bool = True) -> None:
    """Write `runs` as JSON, with the derived figures. Raises OSError."""
    kept = runs if pictures else [dataclasses.replace(run, pictures={}) for run in runs]
    replace_output(path, json.dumps([run.to_json() for run in kept], indent=1) + "\n")


def load_runs(path: Path) -> list[Run]:
    """What `save_runs` wrote. Raises ReverieError."""
    names = {field.name for field in dataclasses.fields(Run)}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return [Run(**{name: value for name, value in run.items() if name in names}) for run in values]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ReverieError(f"{path} holds no figures of reverie bench accuracy: give what --output wrote") from error


def save_csv(runs: list[Run], path: Path) -> None:
    """Write a row for each accuracy: of which form, data set, protocol and seed, after which update, on which task."""
    written = io.StringIO(newline="")
    rows = csv.writer(written)
    rows.writerow(["dataset", "protocol", "form", "seed", "update", "task", "accuracy"])
    for run in runs:
        for update, row in enumerate(run.matrix):
            for task, value in enumerate(row):
                rows.writerow([run.dataset, run.protocol, run.form, run.seed, update, task, f"{value:.6f}"])
    replace_output(path, written.getvalue())


def grouped(runs: list[Run]) -> list[dict[str, list[Run]]]:
    """Runs by data set and protocol and then by form, in the order in which they came.

    Raises ReverieError for a run that is there twice, which would count as two seeds.
    """
    groups: dict[tuple[str, str], dict[str, list[Run]]] = {}
    for run in runs:
        seeds = groups.setdefault((run.dataset, run.protocol), {}).setdefault(run.form, [])
        if run.seed in {other.seed for other in seeds}:
            twice = f"{run.dataset} {run.protocol} {run.form!r} of seed {run.seed}"
            raise ReverieError(f"{twice} is given twice: leave one of the files out")
        seeds.append(run)
    return list(groups.values())


def title(runs: list[Run]) -> str:
    """Of runs of one data set and protocol."""
    return f"{runs[0].dataset} {runs[0].protocol}, seeds {_ranges(sorted({run.seed for run in runs}))}"


def _ranges(numbers: list[int]) -> str:
    """Rising numbers as "0-3, 7"."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in ranges)

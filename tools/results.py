"""What `reverie bench accuracy` measured, as tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from reverie.device_runtime.errors import ReverieError
from reverie.tools.accuracy import Run

HEADINGS = ("form", "after", "all, %", "± s.e.", "by task, %", "forgetting", "coverage", "seconds", "peak MB")


def save_runs(runs: list[Run], path: Path) -> None:
    """Write `runs` as JSON, with the derived figures."""
    path.write_text(json.dumps([run.to_json() for run in runs], indent=1) + "\n", encoding="utf-8")


def load_runs(path: Path) -> list[Run]:
    """What `save_runs` wrote. Raises ReverieError."""
    names = {field.name for field in dataclasses.fields(Run)}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return [Run(**{name: value for name, value in run.items() if name in names}) for run in values]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ReverieError(f"{path} holds no figures of reverie bench accuracy: give what --output wrote") from error


def tables(runs: list[Run]) -> Iterator[tuple[str, list[list[str]]]]:
    """A title and rows under HEADINGS for each data set and protocol: means over seeds.

    The standard error is that of the accuracy on all test images; coverage is the smallest and largest share of a
    class among generated inputs in any run, in parts of its even share.
    """
    for key in dict.fromkeys((run.dataset, run.protocol) for run in runs):
        chosen = [run for run in runs if (run.dataset, run.protocol) == key]
        seeds = sorted({run.seed for run in chosen})
        rows = []
        for form in dict.fromkeys(run.form for run in chosen):
            group = [run for run in chosen if run.form == form]
            rows += [_row(form, group, update) for update in range(len(group[0].matrix))]
        yield f"{key[0]} {key[1]}, seeds {', '.join(map(str, seeds))}", rows


def print_tables(console: Console, runs: list[Run]) -> None:
    """For a terminal."""
    for title, rows in tables(runs):
        table = Table(title=title, title_justify="left")
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading == "form" else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def as_markdown(runs: list[Run]) -> str:
    """For a document."""
    lines = []
    for title, rows in tables(runs):
        lines += [f"### {title}", "", f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    return "\n".join(lines)


def _row(form: str, group: list[Run], update: int) -> list[str]:
    overall = np.array([run.overall(update) for run in group]) * 100
    error = overall.std(ddof=1) / np.sqrt(len(overall)) if len(overall) > 1 else 0.0
    by_task = np.mean([run.matrix[update] for run in group], axis=0) * 100
    last = update == len(group[0].matrix) - 1
    coverages = [run.coverage[update - 1] for run in group if run.coverage and update]
    shares = [share * len(coverage) for coverage in coverages for share in coverage.values()]
    return [
        form,
        str(update),
        f"{overall.mean():.2f}",
        f"{error:.2f}",
        "  ".join(f"{value:.1f}" for value in by_task),
        f"{100 * np.mean([run.forgetting() for run in group]):.2f}" if last else "",
        f"{min(shares):.2f}-{max(shares):.2f}" if shares else "",
        f"{np.mean([run.seconds[update - 1] for run in group]):.0f}" if update else "",
        f"{max(run.peak_bytes[update - 1] for run in group) / 1e6:.0f}" if update else "",
    ]

"""What `reverie bench accuracy` measured, as tables: means over seeds, with standard errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from reverie.tools import markdown
from reverie.tools.results import Run, grouped, title

FINAL = ("form", "seeds", "all, %", "old, %", "new, %", "old as new, %", "new as old, %")
"""Of the table of accuracies after the last update."""
BESIDES = ("form", "forgetting", "backward transfer", "agreement, %", "coverage", "s an update", "peak MB")
"""Of the table of what else was measured."""


class Section(NamedTuple):
    """A table with its title."""

    title: str
    headings: Sequence[str]
    rows: list[list[str]]


def sections(runs: list[Run]) -> Iterator[Section]:
    """For each data set and protocol, tables of accuracies after the last update, of what else was measured, of the
    accuracy on the way there, and of how much better the default is than each other form, over the seeds of both.

    Coverage is the smallest and largest share of a class among generated inputs in any run, in parts of its even share.
    """
    for forms in grouped(runs).values():
        chosen = [run for group in forms.values() for run in group]
        about = title(chosen)
        yield Section(about, FINAL, [_final(form, group) for form, group in forms.items()])
        besides = [_besides(form, group) for form, group in forms.items()]
        yield Section(f"{about}: forgetting, generator, time and memory", BESIDES, besides)
        updates = len(chosen[0].matrix)
        headings = ["form", *(f"after {update}, %" for update in range(updates))]
        yield Section(f"{about}: all tasks so far", headings, [_so_far(f, g) for f, g in forms.items()])
        default = {run.seed: run for run in forms.get("default", [])}
        beside = [_beside(form, group, default) for form, group in forms.items() if form != "default"]
        if shared := [row for row in beside if row]:
            yield Section(f"{about}: default less each other form", ["form", "seeds", *headings[2:]], shared)


def print_tables(console: Console, runs: list[Run]) -> None:
    """For a terminal."""
    for section in sections(runs):
        table = Table(
            title=section.title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False
        )
        for heading in section.headings:
            is_form = heading == "form"
            lines = "\n".join(wrap(heading, width=10))
            table.add_column(lines, justify="left" if is_form else "right", no_wrap=not is_form)
        for row in section.rows:
            table.add_row(*row)
        console.print(table)


def as_markdown(runs: list[Run]) -> str:
    """For a document."""
    return "\n".join(f"### {s.title}\n\n{markdown.table(s.headings, s.rows)}\n" for s in sections(runs))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error, 0 for a single value."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(np.mean(values)), float(error)


def _final(form: str, group: list[Run]) -> list[str]:
    last = len(group[0].matrix) - 1
    return [
        form,
        str(len(group)),
        _with_error([100 * run.overall(last) for run in group]),
        _percent([run.old(last) for run in group]),
        _percent([run.matrix[last][-1] for run in group]),
        _percent([run.confused[-1][0] for run in group]),
        _percent([run.confused[-1][1] for run in group]),
    ]


def _besides(form: str, group: list[Run]) -> list[str]:
    shares = [share * len(of) for run in group for of in run.coverage for share in of.values()]
    agreement = [run.agreement[-1] for run in group if run.agreement]
    return [
        form,
        f"{100 * np.mean([run.forgetting() for run in group]):.2f}",
        f"{100 * np.mean([run.backward_transfer() for run in group]):.2f}",
        _percent(agreement) if agreement else "",
        f"{min(shares):.2f}-{max(shares):.2f}" if shares else "",
        f"{np.mean([run.seconds for run in group]):.0f}",
        f"{max(max(run.peak_bytes) for run in group) / 1e6:.0f}",
    ]


def _so_far(form: str, group: list[Run]) -> list[str]:
    updates = range(len(group[0].matrix))
    return [form, *(_with_error([100 * run.overall(at) for run in group]) for at in updates)]


def _beside(form: str, group: list[Run], default: Mapping[int, Run]) -> list[str]:
    """Differences seed by seed, after each update; nothing where no seed has both."""
    pairs = [(default[run.seed], run) for run in group if run.seed in default]
    updates = range(1, len(group[0].matrix))
    differences = [[100 * (ours.overall(at) - theirs.overall(at)) for ours, theirs in pairs] for at in updates]
    return [form, str(len(pairs)), *map(_with_error, differences)] if pairs else []


def _with_error(values: Sequence[float]) -> str:
    """Mean and standard error; of a single value, that alone."""
    mean, error = mean_and_error(values)
    mean = round(mean, 2) + 0.0  # never -0.00
    return f"{mean:.2f} ± {error:.2f}" if len(values) > 1 else f"{mean:.2f}"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f}"

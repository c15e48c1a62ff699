"""What `reverie bench accuracy` measured, as tables: means over seeds, with standard errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from textwrap import wrap
from typing import NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from reverie.tools.bench import markdown
from reverie.tools.bench.results import Run, grouped, title

FINAL = ("form", "seeds", "all, %", "old, %", "new, %", "worst class, %")
"""Of the table of accuracies after the last update."""
FORGOTTEN = ("form", "mean so far, %", "forgetting", "backward transfer", "old as new, %", "new as old, %")
UNKNOWN = ("score", "AUROC, or false alarms, %", "found at 5 % false alarms, or then, %")
COSTS = ("form", "agreement, %", "coverage", "steps", "s an update", "peak MB")


class Section(NamedTuple):
    """A table with its title."""

    title: str
    headings: Sequence[str]
    rows: list[list[str]]


def all_sections(runs: list[Run]) -> Iterator[Section]:
    """The tables of every data set and protocol, one after another."""
    return chain.from_iterable(map(sections, grouped(runs)))


def sections(forms: Mapping[str, list[Run]]) -> Iterator[Section]:
    """Tables of one data set and protocol: of accuracies after the last update, of forgetting, of generator and costs,
    of the accuracy on the way there, and, where another form is, of how much better the default is, over the seeds of
    both.

    Coverage is the smallest and largest share of a class among generated inputs in any run, in parts of its even share.
    """
    chosen = [run for group in forms.values() for run in group]
    about = title(chosen)
    yield Section(about, FINAL, [_final(form, group) for form, group in forms.items()])
    yield Section(f"{about}: forgetting", FORGOTTEN, [_forgotten(form, group) for form, group in forms.items()])
    costs = [_costs(form, group) for form, group in forms.items()]
    yield Section(f"{about}: generator, time and memory", COSTS, costs)
    updates = len(chosen[0].matrix)
    headings = ["form", *(f"after {update}, %" for update in range(updates))]
    yield Section(f"{about}: all tasks so far", headings, [_so_far(f, g) for f, g in forms.items()])
    telling = [run.unknown for run in forms.get("default", []) if run.unknown]
    if telling:
        yield Section(f"{about}: telling what no class is, before any update", UNKNOWN, _unknown(telling))
    pairs = _pairs(forms)
    if pairs:
        less = f"{about}: default less each other form"
        yield Section(less, ["form", "seeds", *headings[2:]], [_gained(form, of) for form, of in pairs.items()])
        parts = [_gained_by_part(form, of) for form, of in pairs.items()]
        yield Section(f"{less}, old and new tasks", ("form", "seeds", "old, %", "new, %"), parts)


def print_tables(console: Console, runs: list[Run]) -> None:
    """For a terminal."""
    for section in all_sections(runs):
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
    return "\n".join(f"### {s.title}\n\n{markdown.table(s.headings, s.rows)}\n" for s in all_sections(runs))


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
        _with_error([100 * run.old(last) for run in group]),
        _with_error([100 * run.matrix[last][-1] for run in group]),
        _percent([min(run.by_class) for run in group]) if all(run.by_class for run in group) else "",
    ]


def _forgotten(form: str, group: list[Run]) -> list[str]:
    shares = [run.confused[-1] for run in group]
    return [
        form,
        _with_error([100 * run.average_so_far() for run in group]),
        _with_error([100 * run.forgetting() for run in group]),
        _with_error([100 * run.backward_transfer() for run in group]),
        # All are 0 where no class is new, which says nothing.
        *(_percent(told) if any(map(any, shares)) else "" for told in zip(*shares, strict=True)),
    ]


def _costs(form: str, group: list[Run]) -> list[str]:
    shares = [share * len(of) for run in group for of in run.coverage for share in of.values()]
    steps = [count for run in group for count in run.steps]
    return [
        form,
        _percent([run.agreement[-1] for run in group]) if all(run.agreement for run in group) else "",
        f"{min(shares):.2f}-{max(shares):.2f}" if shares else "",
        f"{np.mean(steps):.0f}" if all(run.steps for run in group) else "",
        _seconds(float(np.mean([run.seconds for run in group]))),
        f"{max(max(run.peak_bytes) for run in group) / 1e6:.0f}",
    ]


def _unknown(telling: list[dict[str, list[float]]]) -> list[list[str]]:
    """A row a score; of the last one, at the bundle's own threshold, false alarms and what is found then."""
    return [
        [score, *(_with_error([100 * of[score][column] for of in telling]) for column in range(2))]
        for score in telling[0]
    ]


def _seconds(taken: float) -> str:
    """Whole ones, of what takes less two digits."""
    return f"{taken:.0f}" if taken >= 1 else f"{taken:.2g}"


def _so_far(form: str, group: list[Run]) -> list[str]:
    updates = range(len(group[0].matrix))
    return [form, *(_with_error([100 * run.overall(at) for run in group]) for at in updates)]


def _pairs(forms: Mapping[str, list[Run]]) -> dict[str, list[tuple[Run, Run]]]:
    """The default beside each other form, seed by seed; none where no seed has both."""
    default = {run.seed: run for run in forms.get("default", [])}
    pairs = {
        form: [(default[run.seed], run) for run in group if run.seed in default]
        for form, group in forms.items()
        if form != "default"
    }
    return {form: of for form, of in pairs.items() if of}


def _gained(form: str, pairs: list[tuple[Run, Run]]) -> list[str]:
    updates = range(1, len(pairs[0][0].matrix))
    gained = [[100 * (ours.overall(at) - theirs.overall(at)) for ours, theirs in pairs] for at in updates]
    return [form, str(len(pairs)), *map(_with_error, gained)]


def _gained_by_part(form: str, pairs: list[tuple[Run, Run]]) -> list[str]:
    last = len(pairs[0][0].matrix) - 1
    old = [100 * (ours.old(last) - theirs.old(last)) for ours, theirs in pairs]
    new = [100 * (ours.matrix[last][-1] - theirs.matrix[last][-1]) for ours, theirs in pairs]
    return [form, str(len(pairs)), _with_error(old), _with_error(new)]


def _with_error(values: Sequence[float]) -> str:
    """Mean and standard error; of a single value, that alone."""
    mean, error = mean_and_error(values)
    mean = round(mean, 2) + 0.0  # never -0.00
    return f"{mean:.2f} ± {error:.2f}" if len(values) > 1 else f"{mean:.2f}"


def _percent(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.1f}" if values else ""

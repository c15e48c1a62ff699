"""The tables of `reverie bench speed`; a ratio below 1 is faster, or smaller, than what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from reverie.tools.bench import markdown
from reverie.tools.bench.speed.run import Speed
from reverie.tools.bench.speed.update import StageCost

if TYPE_CHECKING:
    from reverie.tools.bench.speed.box import BoxFigure
    from reverie.tools.bench.speed.engines import Beside
    from reverie.tools.bench.speed.growth import Growth
    from reverie.tools.bench.speed.rules import RuleTimes
    from reverie.tools.bench.speed.steps import StepTimes


def print_speed(speed: Speed) -> None:
    """A table for each part that was measured."""
    console = Console()
    console.print(f"Reverie on {speed.engine}")
    for table in tables(speed):
        console.print(table)


def print_markdown(speed: Speed) -> None:
    """The same, as a document takes it."""
    click.echo(f"Reverie on {speed.engine}.\n")
    for table in tables(speed):
        headings = [str(column.header) for column in table.columns]
        rows = zip(*(map(str, column.cells) for column in table.columns), strict=True)
        click.echo(f"### {table.title}\n\n{markdown.table(headings, rows)}\n")


def tables(speed: Speed) -> Iterator[Table]:
    """A table for each part that was measured."""
    if speed.steps:
        yield _steps(speed.steps)
    for count, rules in speed.rules.items():
        yield _rules(count, rules, speed.peak_gflops[count])
    if speed.box:
        yield _box(speed.box)
    if speed.growth is not None:
        yield _frames(speed.growth)
        yield _solvers(speed.growth)
    if speed.beside is not None:
        yield _beside(speed.beside, speed.engine)
    if speed.update:
        yield _update(speed.update)


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in words:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _steps(rows: list[StepTimes]) -> Table:
    numbers = ("batch", "cores", "Reverie", "torch", "compiled", "/ torch", "/ compiled", "GFLOP/s", "of product")
    table = _table(
        "One step, median milliseconds, and its share of a matrix product's speed", ("networks", "step"), numbers
    )
    for row in rows:
        compiled = ("–", "–") if row.compiled is None else (f"{row.compiled:.1f}", f"{row.ours / row.compiled:.2f}")
        figures = (f"{row.ours:.1f}", f"{row.torch:.1f}", compiled[0], f"{row.ours / row.torch:.2f}", compiled[1])
        rates = (f"{row.gflops:.0f}", f"{row.gflops / row.product:.0%}")
        table.add_row(row.size, row.step, str(row.batch), str(row.threads), *figures, *rates)
    return table


def _beside(beside: Beside, engine: str) -> Table:
    table = _table(
        "One step on either engine, median milliseconds of CPU",
        ("networks", "step"),
        ("batch", engine, beside.engine, "ratio"),
    )
    for row in beside.times:
        figures = (f"{row.ours:.1f}", f"{row.other:.1f}", f"{row.ratio:.2f}")
        table.add_row(row.size, row.step, str(row.batch), *figures)
    return table


def _rules(count: int, rows: list[RuleTimes], peak: float) -> Table:
    title = f"Rules on {count} core{'s' if count > 1 else ''}, median milliseconds; matrix product {peak:.0f} GFLOP/s"
    table = _table(title, ("rule", "on"), ("before", "after", "ratio", "GFLOP/s", "of product"))
    for row in rows:
        rates = ("–", "–") if row.gflops is None else (f"{row.gflops:.0f}", f"{row.gflops / peak:.0%}")
        table.add_row(
            row.rule, row.on, f"{row.before:.2f}", f"{row.after:.2f}", f"{row.after / row.before:.2f}", *rates
        )
    return table


def _box(rows: list[BoxFigure]) -> Table:
    table = _table("What a box feels", ("figure", "unit"), ("Reverie", "torch", "ratio"))
    for row in rows:
        ours, theirs = (
            "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            for value in (row.ours, row.torch)
        )
        table.add_row(row.what, row.unit, ours, theirs, "–" if row.ratio is None else f"{row.ratio:.2f}")
    return table


def _frames(growth: Growth) -> Table:
    numbers = ("frames", "seconds reading", "in stages", "peak MB")
    table = _table("An update of few steps as frames grow", ("checked",), numbers)
    for cost in growth.frames:
        reading = cost.stages["frames"].seconds
        rest = sum(stage.seconds for stage in cost.stages.values()) - reading
        figures = (f"{cost.frames:,}", f"{reading:.1f}", f"{rest:.1f}", f"{cost.peak_bytes / 1e6:.0f}")
        table.add_row("yes" if cost.checked else "no", *figures)
    return table


def _solvers(growth: Growth) -> Table:
    headings = ("at", "batch", "milliseconds", "torch", "ratio", "peak MB", "torch", "ratio")
    table = _table("A training step as the solver grows", ("along",), headings)
    for place, ours, theirs in growth.steps:
        times = (f"{ours.milliseconds:.1f}", f"{theirs.milliseconds:.1f}")
        peaks = (f"{ours.peak_bytes / 1e6:.0f}", f"{theirs.peak_bytes / 1e6:.0f}")
        ratios = (f"{ours.milliseconds / theirs.milliseconds:.2f}", f"{ours.peak_bytes / theirs.peak_bytes:.2f}")
        table.add_row(place.along, f"{place.at:,}", str(place.batch), *times, ratios[0], *peaks, ratios[1])
    return table


def _update(update: dict[str, dict[str, StageCost]]) -> Table:
    ours, theirs = update["Reverie"], update["torch"]
    table = _table("A whole update", ("stage",), ("seconds", "torch", "ratio", "peak MB", "torch", "ratio"))
    whole = {
        "all": tuple(
            StageCost(sum(c.seconds for c in costs.values()), max(c.peak_bytes for c in costs.values()))
            for costs in (ours, theirs)
        )
    }
    for stage, (one, other) in ({name: (ours[name], theirs[name]) for name in ours} | whole).items():
        seconds = (f"{one.seconds:.1f}", f"{other.seconds:.1f}", f"{one.seconds / max(other.seconds, 1e-9):.2f}")
        peaks = (f"{one.peak_bytes / 1e6:.0f}", f"{other.peak_bytes / 1e6:.0f}")
        table.add_row(stage, *seconds, *peaks, f"{one.peak_bytes / max(other.peak_bytes, 1):.2f}")
    return table

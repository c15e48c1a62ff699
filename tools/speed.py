"""`reverie bench speed`: the device's engine beside torch, on this machine and in one run.

Absolute times mean nothing on a machine that others use; the two are measured by turns, and what counts is the ratio.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from reverie.device_runtime.errors import EngineError
from reverie.tools.accuracy_start import apart
from reverie.tools.speed_update import StageCost, measure_updates

if TYPE_CHECKING:
    from reverie.tools.speed_rules import RuleTimes
    from reverie.tools.speed_steps import StepTimes


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Processes started meanwhile may use `count` cores. Raises EngineError where there are fewer."""
    before = os.sched_getaffinity(0)
    if count > len(before):
        raise EngineError(f"this process may use {len(before)} cores: choose --cores of them or fewer")
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Speed:
    """What was measured, as far as it was asked for."""

    threads: tuple[int, ...]
    steps: list[StepTimes] = field(default_factory=list)
    rules: dict[int, list[RuleTimes]] = field(default_factory=dict)
    """By number of cores."""
    peak_gflops: dict[int, float] = field(default_factory=dict)
    """Of a large matrix product, by number of cores."""
    update: dict[str, dict[str, StageCost]] = field(default_factory=dict)
    """By engine, then by stage, on all cores."""


def measure_speed(
    parts: Sequence[str],
    sizes: Sequence[str],
    threads: tuple[int, ...],
    repeats: int,
    compiled: bool,
    learnt: tuple[Path, Path] | None,
    console: Console,
) -> Speed:
    """What `parts` name, each measurement in a process of its own. `learnt` are bundle and frames of an update.

    Raises EngineError.
    """
    from reverie.tools.speed_rules import measure_rules
    from reverie.tools.speed_steps import measure_steps

    speed = Speed(threads)
    for count in threads:
        with cores(count):
            for size in sizes if "steps" in parts else ():
                console.print(f"steps of {size}, cores: {count} ...")
                speed.steps += apart(measure_steps, size, count, repeats, compiled)
            if "rules" in parts:
                console.print(f"rules, cores: {count} ...")
                speed.rules[count], speed.peak_gflops[count] = apart(measure_rules, repeats)
    if "update" in parts and learnt is not None:
        console.print("a whole update ...")
        speed.update = measure_updates(*learnt, seed=0)
    return speed


def print_speed(console: Console, speed: Speed) -> None:
    """A table for each part; a ratio below 1 is faster, or smaller, than what it is compared with."""
    if speed.steps:
        _print_steps(console, speed.steps)
    for count, rules in speed.rules.items():
        _print_rules(console, count, rules, speed.peak_gflops[count])
    if speed.update:
        _print_update(console, speed.update)


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in words:
        table.add_column(heading)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _print_steps(console: Console, rows: list[StepTimes]) -> None:
    numbers = ("batch", "cores", "Reverie", "torch", "compiled", "/ torch", "/ compiled")
    table = _table("One step, median milliseconds", ("networks", "step"), numbers)
    for row in rows:
        compiled = ("–", "–") if row.compiled is None else (f"{row.compiled:.1f}", f"{row.ours / row.compiled:.2f}")
        figures = (f"{row.ours:.1f}", f"{row.torch:.1f}", compiled[0], f"{row.ours / row.torch:.2f}", compiled[1])
        table.add_row(row.size, row.step, str(row.batch), str(row.threads), *figures)
    console.print(table)


def _print_rules(console: Console, count: int, rows: list[RuleTimes], peak: float) -> None:
    title = f"Rules on {count} core{'s' if count > 1 else ''}, median milliseconds; matrix product {peak:.0f} GFLOP/s"
    table = _table(title, ("rule", "on"), ("before", "after", "ratio", "GFLOP/s", "of product"))
    for row in rows:
        rates = ("–", "–") if row.gflops is None else (f"{row.gflops:.0f}", f"{row.gflops / peak:.0%}")
        table.add_row(
            row.rule, row.on, f"{row.before:.2f}", f"{row.after:.2f}", f"{row.after / row.before:.2f}", *rates
        )
    console.print(table)


def _print_update(console: Console, update: dict[str, dict[str, StageCost]]) -> None:
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
    console.print(table)

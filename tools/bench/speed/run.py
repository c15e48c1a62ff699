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

from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.errors import EngineError
from reverie.tools.bench.accuracy_start import apart
from reverie.tools.bench.speed.update import StageCost, measure_updates

if TYPE_CHECKING:
    from reverie.tools.bench.speed.box import BoxFigure
    from reverie.tools.bench.speed.engines import Beside
    from reverie.tools.bench.speed.growth import Growth
    from reverie.tools.bench.speed.rules import RuleTimes
    from reverie.tools.bench.speed.steps import StepTimes


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
    box: list[BoxFigure] = field(default_factory=list)
    growth: Growth | None = None
    update: dict[str, dict[str, StageCost]] = field(default_factory=dict)
    """By engine, then by stage, on all cores."""
    beside: Beside | None = None
    engine: str = field(default_factory=lambda: str(installed_engine()))
    """Of the device."""


def measure_speed(
    parts: Sequence[str],
    sizes: Sequence[str],
    threads: tuple[int, ...],
    repeats: int,
    compiled: bool,
    learnt: tuple[Path, Path] | None,
    console: Console,
    other: Path | None = None,
) -> Speed:
    """What `parts` name, each measurement in a process of its own. `learnt` are bundle and frames of an update.

    Box and growth are measured on the most cores that `threads` name, a whole update on all, and steps beside the
    engine in the folder `other` on one. Raises EngineError.
    """
    from reverie.tools.bench.speed.box import measure_box_figures
    from reverie.tools.bench.speed.engines import measure_beside
    from reverie.tools.bench.speed.growth import measure_growth

    speed = Speed(threads)
    with cores(max(threads)):
        if "box" in parts:
            console.print("what a box feels ...")
            speed.box = apart(measure_box_figures, repeats)
        if "growth" in parts:
            speed.growth = measure_growth(repeats, console)
    for count in threads:
        with cores(count):
            for size in sizes if "steps" in parts else ():
                console.print(f"steps of {size}, cores: {count} ...")
                speed.steps += apart(_steps, size, count, repeats, compiled)
            if "rules" in parts:
                console.print(f"rules, cores: {count} ...")
                speed.rules[count], speed.peak_gflops[count] = apart(_rules, repeats)
    if other is not None:
        console.print(f"steps beside the engine in {other} ...")
        with cores(1):
            speed.beside = measure_beside(sizes, other, repeats)
    if "update" in parts and learnt is not None:
        console.print("a whole update ...")
        speed.update = measure_updates(*learnt, seed=0)
    return speed


def _steps(size: str, threads: int, repeats: int, compiled: bool) -> list[StepTimes]:
    from reverie.tools.bench.speed.steps import measure_steps

    return measure_steps(size, threads, repeats, compiled)


def _rules(repeats: int) -> tuple[list[RuleTimes], float]:
    from reverie.tools.bench.speed.rules import measure_rules

    return measure_rules(repeats)

"""One picture of what `reverie bench speed --part growth` measured; with matplotlib, of the extra `report`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.ticker import LogLocator, NullLocator

from reverie.tools.bench.speed.growth import Growth
from reverie.tools.output_file import replace_output
from reverie.tools.report.plots import AFTER, BEFORE, FAINT, drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = tuple[str, str, str, list[int], list[float], list[float]]
"""Name, colour and dashes of a line; where it has points; seconds and megabytes there."""


def save_growth(growth: Growth, file: Path) -> None:
    """Write time above memory, against each thing that grows, as a PNG file; all but memory is logarithmic."""
    panels: list[tuple[str, str, list[Line]]] = [("live frames", "s, short update", _frames(growth))]
    for along, what in (("classes", "classes"), ("side", "pixels of a side"), ("width", "channels at first")):
        panels.append((what, "s, training step", _steps(growth, along)))
    panels = [panel for panel in panels if panel[2]]
    with drawing():
        figure = new_figure(1.8 * len(panels))
        for row, (what, seconds, lines) in zip(figure.subplots(len(panels), 2, squeeze=False), panels, strict=True):
            for name, colour, dashes, at, times, megabytes in lines:
                for axes, values in zip(row, (times, megabytes), strict=True):
                    axes.plot(at, values, color=colour, linestyle=dashes, marker="o", markersize=3, label=name)
            ticks = sorted({x for line in lines for x in line[3]})
            for axes, label in zip(row, (seconds, "peak memory, MB"), strict=True):
                _scale(axes, ticks, what, label)
            _scale_of_time(row[0])
            row[1].set_ylim(0, 1.15 * row[1].get_ylim()[1])
            row[1].legend()
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=150)
    replace_output(file, drawn.getvalue())


def _frames(growth: Growth) -> list[Line]:
    lines: list[Line] = []
    for checked, name, dashes in ((True, "Reverie, frames checked", "-"), (False, "all taken", "--")):
        costs = [cost for cost in growth.frames if cost.checked == checked]
        if costs:
            seconds = [sum(stage.seconds for stage in cost.stages.values()) for cost in costs]
            megabytes = [cost.peak_bytes / 1e6 for cost in costs]
            lines.append((name, AFTER, dashes, [cost.frames for cost in costs], seconds, megabytes))
    return lines


def _steps(growth: Growth, along: str) -> list[Line]:
    found = [(place.at, ours, theirs) for place, ours, theirs in growth.steps if place.along == along]
    if not found:
        return []
    at, ours, theirs = map(list, zip(*found, strict=True))
    lines: list[Line] = []
    for name, colour, costs in (("Reverie", AFTER, ours), ("torch", BEFORE, theirs)):
        seconds = [cost.milliseconds / 1e3 for cost in costs]
        lines.append((name, colour, "-", at, seconds, [cost.peak_bytes / 1e6 for cost in costs]))
    return lines


def _scale(axes: Axes, ticks: list[int], what: str, label: str) -> None:
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick // 1000}k" if tick >= 10_000 else str(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(what)
    axes.set_ylabel(label)
    axes.grid(color=FAINT, linewidth=0.5)


def _scale_of_time(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())

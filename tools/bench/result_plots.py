"""Plots of what `reverie bench accuracy` measured, as SVG."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from reverie.tools.bench.result_tables import mean_and_error
from reverie.tools.bench.results import Run
from reverie.tools.report.plots import AFTER, BEFORE, FAINT, as_svg, drawing, new_figure

ACROSS = 3
"""Heat maps beside each other."""
NAME_HEIGHT = 0.2
"""Inches for each name beside the lines of a plot."""
NAME_GAP = 0.08
"""Between the end of a line and its name, in parts of the width of all lines."""
LEADER = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 1}
EMPHASISED = {"default": (AFTER, "-", 2.2), "joint": ("black", ":", 1.2), "none": (BEFORE, ":", 1.2)}


def matrices(forms: dict[str, list[Run]]) -> str:
    """The accuracy after each update on each task, a heat map for each form."""
    tasks = len(next(iter(forms.values()))[0].matrix)
    down = -(-len(forms) // ACROSS)
    with drawing():
        figure = new_figure(down * (0.24 * tasks + 0.75))
        panels = figure.subplots(down, ACROSS, squeeze=False).flat
        for axes, (form, group) in zip(panels, forms.items(), strict=False):
            cells = np.full((tasks, tasks), np.nan)
            for update in range(tasks):
                cells[update, : update + 1] = 100 * np.mean([run.matrix[update] for run in group], axis=0)
            axes.imshow(cells, cmap="Greens", vmin=0, vmax=100, aspect="auto")
            for (update, task), value in np.ndenumerate(cells):
                if not np.isnan(value):
                    colour = "white" if value > 50 else "black"
                    axes.text(task, update, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
            axes.set_title(form)
            axes.set_xticks(range(tasks))
            axes.set_yticks(range(tasks))
        for axes in list(figure.axes)[len(forms) :]:
            axes.set_visible(False)
        figure.supxlabel("task", fontsize=9)
        figure.supylabel("after update", fontsize=9)
        return as_svg(figure)


def so_far(forms: dict[str, list[Run]]) -> str:
    """Accuracy on all tasks so far after each update, with its standard error over seeds."""
    with drawing():
        figure = new_figure(max(3.0, NAME_HEIGHT * len(forms)))
        axes = figure.subplots()
        shades = np.linspace(0.25, 0.75, max(len(forms), 2))
        named: list[tuple[float, str]] = []
        for shade, (form, group) in zip(shades, forms.items(), strict=False):
            found = [mean_and_error([100 * run.overall(at) for run in group]) for at in range(len(group[0].matrix))]
            means, errors = map(np.array, zip(*found, strict=True))
            colour, line, width = EMPHASISED.get(form, (str(shade), "--", 1.2))
            at = np.arange(len(means))
            axes.fill_between(at, means - errors, means + errors, color=colour, alpha=0.15, linewidth=0)
            axes.plot(at, means, color=colour, linestyle=line, linewidth=width)
            named.append((float(means[-1]), form))
        axes.set_xticks(range(len(next(iter(forms.values()))[0].matrix)))
        axes.set_xlabel("after update")
        axes.set_ylabel("right, % of all tasks so far")
        axes.grid(axis="y", color=FAINT, linewidth=0.5)
        axes.margins(x=0.12)
        _name(axes, named, at[-1])
        return as_svg(figure)


def _name(axes: Axes, named: list[tuple[float, str]], at: float) -> None:
    """Write each name beside the end of its line, moved where it would cover another, and never out of the picture.

    A thin line leads from the end of each line to its name.
    """
    low, high = axes.get_ylim()
    apart = (high - low) / max(16, len(named))
    places: list[float] = []
    for value, _ in sorted(named):
        places.append(max(value, places[-1] + apart) if places else value)
    above = high + apart / 2
    for place, (value, name) in zip(reversed(places), sorted(named, reverse=True), strict=True):
        above = min(place, above - apart)
        axes.annotate(name, (at, value), (at + NAME_GAP * at, above), va="center", arrowprops=LEADER)

"""Plots of a report as SVG, with matplotlib, which is in the extra `report`."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE, AFTER, FAINT = "#9aa0a6", "#1b6e53", "#d9d6cd"
"""Told apart by lightness too, for those who see no colours and on paper."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reverie",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f94",
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
WIDTH = 7.2
"""Inches of a plot."""
MOST_LABELS = 40
"""Beyond which a confusion matrix cannot be read."""
BESIDE = 14
"""Up to so many columns, two matrices stand beside each other."""
LONGEST = 24
"""Characters of a label in a plot."""
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
"""Without them a drawing names no address but the namespaces of SVG."""


def accuracy(classes: list[dict[str, Any]]) -> str:
    """Before and after for each class of an update, with a line between."""
    with drawing():
        figure = new_figure(0.32 * len(classes) + 0.9)
        axes = figure.subplots()
        for at, row in enumerate(classes):
            before, after = row["before"], row["after"]
            if before is not None and after is not None:
                axes.plot([before, after], [at, at], color=FAINT, linewidth=2, zorder=1)
            if before is not None:
                axes.scatter(before, at, color=BEFORE, zorder=2, label="before" if _first(axes, "before") else None)
            if after is not None:
                label = "after" if _first(axes, "after") else None
                axes.scatter(after, at, color=AFTER, marker="D", zorder=3, label=label)
        axes.set_yticks(range(len(classes)), [_short(row["label"]) for row in classes])
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("right, of held-out frames")
        axes.grid(axis="x", color=FAINT, linewidth=0.5)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        return as_svg(figure)


def confusion(counts: dict[str, dict[str, dict[str, int]]]) -> str | None:
    """Held-out frames by their label and what they were taken for, before and after; None if there are too many."""
    rows = list(counts["after"])
    seen = {label for when in counts.values() for row in when.values() for label in row}
    columns = [label for label in dict.fromkeys([*rows, *sorted(seen)]) if label in seen]
    if len(columns) > MOST_LABELS or not columns:
        return None
    with drawing():
        names = [_short(label) for label in columns]
        height = (0.3 if len(rows) < BESIDE else 0.2) * len(rows) + 0.09 * max(map(len, names)) + 1.1
        beside = len(columns) <= BESIDE
        figure = new_figure(height if beside else 2 * height)
        panels = figure.subplots(1, 2, sharey=True) if beside else figure.subplots(2, 1)
        for axes, (when, table) in zip(panels, counts.items(), strict=True):
            values = np.array([[table[row].get(column, 0) for column in columns] for row in rows], float)
            shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1)
            axes.imshow(shares, cmap="Greens", vmin=0, vmax=1, aspect="auto")
            for (row, column), count in np.ndenumerate(values):
                if count:
                    dark = shares[row, column] > 0.5
                    axes.text(column, row, f"{count:.0f}", ha="center", va="center", color="white" if dark else "black")
            axes.set_xticks(range(len(columns)), names, rotation=90)
            axes.set_yticks(range(len(rows)), [_short(label) for label in rows])
            axes.set_title(when)
            axes.set_xlabel("taken for")
        return as_svg(figure)


def losses(stages: dict[str, dict[str, Any]]) -> str:
    """The loss of each stage over its steps."""
    curves = {name: stage for name, stage in stages.items() if len(stage["losses"]) > 1}
    with drawing():
        figure = new_figure(1.7)
        panels = figure.subplots(1, len(curves), squeeze=False)[0]
        panels[0].set_ylabel("loss")
        for axes, (name, stage) in zip(panels, curves.items(), strict=True):
            steps = np.linspace(1, max(stage["steps"], 2), len(stage["losses"]))
            axes.plot(steps, stage["losses"], color=AFTER, linewidth=1.2)
            axes.set_title(name)
            axes.set_xlabel("step")
        return as_svg(figure)


def cost(stages: dict[str, dict[str, Any]]) -> str:
    """Seconds and peak memory of each stage."""
    names = list(stages)
    with drawing():
        figure = new_figure(0.28 * len(names) + 0.8)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, values, what in (
            (left, [stages[name]["seconds"] for name in names], "seconds"),
            (right, [stages[name]["peak_bytes"] / 1e6 for name in names], "peak memory, MB"),
        ):
            bars = axes.barh(names, values, color=AFTER, height=0.6)
            axes.bar_label(bars, fmt="%.1f" if what == "seconds" else "%.0f", padding=3)
            axes.margins(x=0.18)
            axes.set_xlabel(what)
        left.invert_yaxis()
        return as_svg(figure)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"


def _first(axes: Axes, label: str) -> bool:
    return label not in axes.get_legend_handles_labels()[1]


@contextmanager
def drawing() -> Iterator[None]:
    """In which plots look alike."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's browser has fonts that this box has not
        yield


def new_figure(height: float) -> Figure:
    """As wide as a page, `height` inches high."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def as_svg(figure: Figure) -> str:
    """The drawing, to stand in an HTML file."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata=NO_METADATA)
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]

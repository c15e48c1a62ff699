"""The picture of the demo's result in docs/, of two homes: before and after the update. `make screenshots` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "models/grocery-demo"
RIGHT, WRONG, FAINT = "#1a7f37", "#cf222e", "#6e7781"
COLUMNS = 10
"""Of photographs, in two blocks of a class each."""


def reverie(*arguments):
    command = [sys.executable, "-c", "from reverie.tools.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def predicted(home):
    """Test photograph → the label that it is taken for."""
    lines = reverie("predict", DEMO / "test", "--home", home, "--json").splitlines()
    return {Path(line["file"]): line["label"] for line in map(json.loads, lines)}


def draw(before, after, new, output):
    labels = sorted({file.parent.name for file in after}, key=lambda label: (label in new, label))
    figure = Figure(figsize=(13, 6.2), layout="constrained")
    cells = figure.subplots(len(labels) // 2, COLUMNS + 1)
    for cell in cells.flat:
        cell.axis("off")
    for at, label in enumerate(labels):
        row, first = at // 2, (at % 2) * (COLUMNS // 2 + 1)
        files = sorted(file for file in after if file.parent.name == label)[: COLUMNS // 2]
        for column, file in enumerate(files):
            cell = cells[row, first + column]
            cell.imshow(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB), aspect="auto")
            said, colour = after[file], RIGHT if after[file] == label else WRONG
            cell.text(0.5, -0.02, said, transform=cell.transAxes, ha="center", va="top", color=colour, fontsize=10)
            was = f"was: {before[file]}" if before[file] != said else ""
            cell.text(0.5, -0.16, was, transform=cell.transAxes, ha="center", va="top", color=FAINT, fontsize=8)
    figure.savefig(output, dpi=80, pil_kwargs={"quality": 80})


def main():
    new = {folder.name for folder in (DEMO / "frames").iterdir()}
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        reverie("install", DEMO / "bundle", "--home", home)
        before = predicted(home)
        reverie("update", "--frames", DEMO / "frames", "--home", home)
        draw(before, predicted(home), new, ROOT / "docs/groceries.jpg")


if __name__ == "__main__":
    main()

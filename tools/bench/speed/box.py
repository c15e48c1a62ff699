"""What a box feels, beside the same in torch: cold start, frames a second, and what takes room on its disk."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.tools.bench.accuracy_start import apart
from reverie.tools.bench.box import Finished, run_code, run_verb
from reverie.tools.bench.speed.installed import folder_bytes, installed_bytes

LIVE = ("28x28 reference", "64x64 MobileNetV2")
"""Sizes of live prediction; the first one starts cold."""
MOST_STARTS = 9

_IN_TORCH = """
import sys
import cv2
import torch
from reverie.export.pretraining.networks import ReferenceSolver

image, weights, slots, *classes = sys.argv[1:]
solver = ReferenceSolver((1, 28, 28), int(slots)).eval()
solver.load_state_dict(torch.load(weights, weights_only=True))
pixels = torch.from_numpy(cv2.imread(image, cv2.IMREAD_GRAYSCALE)[None, None])
with torch.inference_mode():
    probabilities = solver(pixels / 127.5 - 1)[0, : len(classes)].softmax(0)
best = int(probabilities.argmax())
print(f"{image}: {classes[best]} {float(probabilities[best]):.1%}")
"""
"""The least that does what `reverie predict IMAGE` does."""


class BoxFigure(NamedTuple):
    """One figure of ours and torch's, None where torch has none."""

    what: str
    unit: str
    ours: float
    torch: float | None

    @property
    def ratio(self) -> float | None:
        """Below 1 is faster, or smaller, than torch."""
        if self.torch is None:
            return None
        return self.torch / self.ours if self.unit == "frames/s" else self.ours / self.torch


def measure_box_figures(repeats: int) -> list[BoxFigure]:
    """On this process's cores; it must not have loaded torch, which would count as memory of what it starts.

    Raises EngineError.
    """
    with tempfile.TemporaryDirectory() as scratch:
        times = {size: apart(_frame_times, size, Path(scratch) / size, repeats) for size in LIVE}
        reference = Path(scratch) / LIVE[0]
        starts = [cold_starts(reference) for _ in range(min(repeats, MOST_STARTS))]
        bundle = folder_bytes(reference / "bundle")
    seconds = [statistics.median(start.seconds for start in engine) for engine in zip(*starts, strict=True)]
    peaks = [statistics.median(start.peak_bytes for start in engine) for engine in zip(*starts, strict=True)]
    return [
        BoxFigure("cold start to first prediction", "s", *seconds),
        BoxFigure("peak memory of that", "MB", *(peak / 1e6 for peak in peaks)),
        *(BoxFigure(f"live, {size}", "frames/s", 1e3 / ms["ours"], 1e3 / ms["torch"]) for size, ms in times.items()),
        *(BoxFigure(what, "MB", ours / 1e6, torch / 1e6) for what, (ours, torch) in installed_bytes().items()),
        BoxFigure(f"bundle, {LIVE[0]}", "MB", bundle / 1e6, None),
    ]


def cold_starts(folder: Path) -> tuple[Finished, Finished]:
    """A first prediction in a fresh process by `reverie predict`, and by torch, of what `write_box` wrote."""
    image, manifest = str(folder / "image.png"), read_manifest(folder / "bundle")
    arguments = (image, str(folder / "solver.pt"), str(manifest.slots), *manifest.classes)
    return run_verb("predict", image, "--home", str(folder / "home")), run_code(_IN_TORCH, *arguments, name="torch")


def _frame_times(size: str, folder: Path, repeats: int) -> dict[str, float]:
    from reverie.tools.bench.speed.predict import frame_times

    return frame_times(size, folder, repeats)

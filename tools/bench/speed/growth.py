"""How time and memory grow with frames, classes, image side and width: each measured in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from reverie.device_runtime.bundle.contents import training_graph
from reverie.device_runtime.bundle.manifest import BETAS
from reverie.device_runtime.engine.graph import block_size
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.method.monitor import peak_memory
from reverie.tools.bench.accuracy_start import apart
from reverie.tools.bench.speed.frames import FramesCost, measure_frames
from reverie.tools.bench.speed.place import LEARNING_RATE, Place, StepCost
from reverie.tools.bench.speed.torch_step import cost_in_torch
from reverie.tools.bench.speed.turns import by_turns

PLACES = (
    *(Place("classes", classes=classes) for classes in (10, 100, 1000)),
    *(Place("side", side=side, batch=64) for side in (28, 56, 112, 224)),  # at 224, 256 images would take gigabytes
    *(Place("width", width=width) for width in (8, 16, 32, 64)),
)
FRAMES = ((100, True), (1_000, True), (10_000, True), (100, False), (1_000, False), (10_000, False), (100_000, False))
"""How many, and whether they are checked. Each is compared with those before it: 100,000 would take too long here."""
MOST_REPEATS = 3


@dataclass(frozen=True)
class Growth:
    """What was measured."""

    frames: list[FramesCost]
    steps: list[tuple[Place, StepCost, StepCost]]
    """Ours and torch's."""


def measure_growth(
    repeats: int, console: Console, frames: Sequence[tuple[int, bool]] = FRAMES, places: Sequence[Place] = PLACES
) -> Growth:
    """On this process's cores. Raises EngineError."""
    repeats = min(repeats, MOST_REPEATS)
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / str(number) for number in range(len(places))]
        bundle = Path(scratch) / "bundle"
        apart(_write, bundle, list(zip(places, folders, strict=True)))
        costs, steps = [], []
        for count, checked in frames:
            console.print(f"an update with {count:,} frames{', which are checked' if checked else ''} ...")
            costs.append(apart(measure_frames, bundle, count, checked))
        for place, folder in zip(places, folders, strict=True):
            console.print(f"a training step, {place.along} {place.at} ...")
            steps.append((place, apart(_cost, place, folder, repeats), apart(cost_in_torch, place, repeats)))
    return Growth(costs, steps)


def _write(bundle: Path, steps: Sequence[tuple[Place, Path]]) -> None:
    from reverie.export.exporter import export_bundle
    from reverie.tools.bench.speed.sizes import built
    from reverie.tools.bench.speed.solvers import write_step

    export_bundle(built("28x28 reference"), bundle, lambda _: None)
    for place, folder in steps:
        write_step(place, folder)


def _cost(place: Place, folder: Path, repeats: int) -> StepCost:
    times = by_turns({"step": device_step(place, folder)}, repeats)
    return StepCost(times["step"], peak_memory())


def device_step(place: Place, folder: Path) -> Callable[[], float]:
    """A step of the solver at `place`, which `write_step` wrote into `folder`; it gives its loss."""
    with np.load(folder / "weights.npz", allow_pickle=False) as stored:
        chunk = int(stored["chunk"])
        step = TrainStep(training_graph(folder, block_size()), dict(stored), "a solver", BETAS["solver"], chunk)
    feeds = place.feeds()
    return lambda: float(step.step(feeds, LEARNING_RATE)["loss"])

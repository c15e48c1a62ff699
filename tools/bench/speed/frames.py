"""What an update costs with the number of live frames: seconds and memory of its stages, with few steps each."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from reverie.device_runtime.changes import gathering, installation, transaction
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import RejectedError
from reverie.device_runtime.home import store
from reverie.device_runtime.method.monitor import peak_memory
from reverie.tools.bench.speed.update import StageCost

STEPS = 5
"""Of each stage: what grows with frames is what is done for each of them, and what is held."""
POOL = 512
"""Generated inputs, of which there are as many whatever the number of frames."""
LABELS = ("one", "other")


class FramesCost(NamedTuple):
    """Of one update: its frames, whether they were checked, its stages, and the most memory between and in them."""

    frames: int
    checked: bool
    stages: dict[str, StageCost]
    peak_bytes: int


def measure_frames(bundle: Path, count: int, checked: bool) -> FramesCost:
    """An update of `bundle`, which takes grey images of 28x28 and has two spare slots, with `count` new frames."""
    with tempfile.TemporaryDirectory() as scratch:
        home, folder = Path(scratch) / "home", Path(scratch) / "frames"
        installation.install(bundle, home)
        write_frames(folder, count)
        with transaction.changing(home) as journal:
            gathering.begin(home, journal, folder, short_update(count, checked))
            peak = peak_memory()
            with contextlib.suppress(RejectedError):  # so few steps teach nothing, which costs as much
                transaction.go_on(home, journal)
        peak = max(peak, peak_memory())
        report = store.read_report(home, "0001") or {}
    stages = {name: StageCost(stage["seconds"], stage["peak_bytes"]) for name, stage in report["stages"].items()}
    return FramesCost(count, checked, stages, max(peak, *(stage.peak_bytes for stage in stages.values())))


def short_update(count: int, checked: bool) -> UpdateConfig:
    """All stages with the default batches, a few steps and a small pool; all of `count` frames are taken."""
    config = UpdateConfig()
    return replace(
        config,
        intake=replace(config.intake, check=checked, max_per_class=count),
        replay=replace(config.replay, pool=POOL),
        fine_tune=replace(config.fine_tune, steps=STEPS),
        synthesis=replace(config.synthesis, count=config.synthesis.batch, steps=STEPS),
        retrain=replace(config.retrain, fit=replace(config.retrain.fit, steps=STEPS)),
        generative=replace(config.generative, steps=STEPS),
    )


def write_frames(folder: Path, count: int) -> None:
    """`count` grey images of 28x28 under two labels, no two alike: noise, brighter in some than in others."""
    rng = np.random.default_rng(0)
    for label in LABELS:
        (folder / label).mkdir(parents=True)
    for at in range(count):
        dark = rng.integers(20, 176)
        image = rng.integers(dark, dark + 60, (28, 28), dtype=np.uint8)
        cv2.imwrite(str(folder / LABELS[at % 2] / f"{at:06d}.png"), image)

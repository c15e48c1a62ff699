"""Memory of an update does not grow with its frames, which lie on the disk until they are needed."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np

UPDATE = """
import contextlib, sys
from dataclasses import replace
from pathlib import Path
from reverie.device_runtime import gathering, installation, store, transaction
from reverie.device_runtime.config import FitConfig, UpdateConfig
from reverie.device_runtime.errors import RejectedError

bundle, home, frames = map(Path, sys.argv[1:])
few = FitConfig(batch=64, steps=3)
config = UpdateConfig(fine_tune=few)
config = replace(
    config,
    intake=replace(config.intake, check=False, max_per_class=100_000),
    replay=replace(config.replay, pool=256),
    synthesis=replace(config.synthesis, count=64, steps=2),
    retrain=replace(config.retrain, fit=few),
    generative=replace(config.generative, steps=3),
)
installation.install(bundle, home)
with transaction.changing(home) as journal:
    gathering.begin(home, journal, frames, config)
    with contextlib.suppress(RejectedError):  # so few steps teach nothing
        transaction.go_on(home, journal)
print(max(stage["peak_bytes"] for stage in store.read_report(home, "0001")["stages"].values()))
"""


def peak_of_an_update(bundle, folder, count):
    """Bytes, with `count` frames of two new labels."""
    rng = np.random.default_rng(0)
    for label in ("one", "other"):
        (folder / "frames" / label).mkdir(parents=True)
        for at in range(count // 2):
            image = rng.integers(0, 256, (14, 14), dtype=np.uint8)
            cv2.imwrite(str(folder / "frames" / label / f"{at}.png"), image)
    arguments = [sys.executable, "-c", UPDATE, bundle, folder / "home", folder / "frames"]
    return int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def test_ten_times_as_many_frames_take_no_more_memory(bundle, tmp_path):
    few, many = (peak_of_an_update(bundle, tmp_path / str(count), count) for count in (2_000, 20_000))
    assert many < 1.1 * few

"""`reverie bench live` and `bench capture`: prediction beside an update, and memory over a long capture."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from reverie.device_runtime.bundle.preprocess import find_images
from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import IntakeConfig
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.frames.gate import Gate
from reverie.device_runtime.method.monitor import resident_memory
from reverie.device_runtime.serving.predictor import Predictor
from reverie.tools.views.background import BackgroundUpdate
from reverie.tools.views.session import Session


def measure_live(bundle: Path, source: Path, frames: Path, seconds: float) -> dict[str, Any]:
    """Predict every frame of the file `source`, as fast as can be, for `seconds`; then as long as an update runs.

    The update learns the class-named folders in `frames`, as one does that was started at a camera.
    """
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        installation.install(bundle, home)
        _store(home, frames)
        with closing(Camera(str(source), fast=True, loop=True)) as camera:
            predictor = Predictor(home)
            _predict(camera, predictor, 2)
            alone = _predict(camera, predictor, seconds)
            update = BackgroundUpdate(home)
            began = time.monotonic()
            beside = _predict(camera, predictor, 3600, until=lambda: update.state.outcome is not None)
            took = time.monotonic() - began
    return {
        "alone": alone,
        "beside": beside,
        "ratio": beside["rate"] / alone["rate"],
        "update_seconds": took,
        "outcome": update.state.outcome,
    }


def measure_capture(bundle: Path, source: str, minutes: float) -> list[float]:
    """Keep what `source` shows for so long; resident MB at the start and after each tenth of the time."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        installation.install(bundle, home)
        camera = Camera(source, loop=True)
        with closing(camera), closing(Session(home, camera, label="shown", every=0.2)) as session:
            megabytes: list[float] = []
            for _ in range(11):
                time.sleep(10 if not megabytes else 6 * minutes)
                megabytes.append(resident_memory() / 1e6)
                session.purge()  # so that there is always something to be kept
    return megabytes


def _store(home: Path, frames: Path) -> None:
    """Keep the images of class-named folders. Raises FramesError."""
    with frame_store.opened(home) as store:
        gate = Gate(store, IntakeConfig())
        for file in find_images(frames):
            gate.offer(file.parent.name, file.read_bytes(), file)
        if not store.to_learn():
            raise FramesError(f"{frames} holds no image that is fit to be learnt: give class-named folders")


def _predict(
    camera: Camera, predictor: Predictor, seconds: float, until: Callable[[], bool] = lambda: False
) -> dict[str, float]:
    """Frames a second, and milliseconds of a prediction: the median, and what 95 % stay below."""
    taken: list[float] = []
    began = time.monotonic()
    while time.monotonic() - began < seconds and not until():
        shot = camera.read()
        if shot is not None:
            started = time.perf_counter()
            predictor.take_up()
            predictor.predict(shot.image)
            taken.append(1000 * (time.perf_counter() - started))
    rate = len(taken) / (time.monotonic() - began)
    return {"rate": rate, "median": float(np.median(taken)), "most": float(np.quantile(taken, 0.95))}

"""What a camera holds does not grow with how long it is watched."""

from __future__ import annotations

import os
import re
import time
from contextlib import closing
from pathlib import Path

import cv2
import pytest
from mjpeg import MjpegServer

from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.camera.video_source import Wanted

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("REVERIE_CAMERA_SECONDS", "6"))
PHOTO = Path(__file__).parents[2] / "photos/coffee.jpg"
ALLOWED = 32.0
"""MB; a single frame is 3.7 MB, so that nine that were kept would show."""


def memory():
    """MB that this process has in memory now."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))[1]) / 1024


def watch(camera, seconds):
    """Read what comes, as a capture does; how many frames."""
    end, frames = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        frames += camera.read(0.2) is not None
    return frames


def test_memory_stays_flat_while_a_stream_is_watched_that_is_cut_again_and_again():
    """For REVERIE_CAMERA_SECONDS, of which the first tenth is for what is kept for good."""
    picture = cv2.imread(str(PHOTO))
    held, frames, port = [], 0, 0
    with closing(MjpegServer(rate=15, picture=picture, scale=5)) as server:
        port = server.port
        camera = Camera(server.url, Wanted(read_seconds=2))
        frames += watch(camera, SECONDS / 10)
    with closing(camera):
        held.append(memory())
        for _ in range(9):
            with closing(MjpegServer(port=port, rate=15, picture=picture, scale=5)):
                frames += watch(camera, SECONDS / 10)
                held.append(memory())
            print(f"{frames} frames, {held[-1]:.0f} MB", flush=True)  # noqa: T201 (for the long run)
    assert frames > 9
    assert max(held[1:]) - held[1] < ALLOWED

"""A stream of a real RTSP server on loopback."""

from __future__ import annotations

import signal
from contextlib import closing

import cv2
import pytest
from mjpeg import PHOTO, QUICK, SIZE, number_of, numbered
from rtsp import playing
from waiting import until

from reverie.device_runtime.camera.camera import Camera

pytestmark = pytest.mark.slow


@pytest.fixture
def rtsp_server(tmp_path):
    """The address of a real RTSP server that plays 200 numbered frames, and how to end it."""
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, SIZE)
    for number in range(1, 201):
        writer.write(numbered(number, cv2.imread(str(PHOTO))))
    writer.release()
    with playing(tmp_path / "clip.avi") as started:
        yield started


def test_an_rtsp_stream_is_read_is_lost_and_is_told(rtsp_server, capfd):
    url, process = rtsp_server
    with closing(Camera(url, QUICK, patience=2)) as camera:
        numbers = [number_of(shot.image) for _ in range(40) if (shot := camera.read(0.5)) is not None]
        assert len(numbers) > 20
        assert numbers == sorted(set(numbers))
        assert (camera.state.name, camera.state.size) == ("live", SIZE)
        process.kill()
        assert until(lambda: camera.over)
    assert "did not come back" in camera.state.says
    assert capfd.readouterr() == ("", "")


def test_an_rtsp_stream_that_stalls_without_closing_is_lost_and_comes_back(rtsp_server):
    url, process = rtsp_server
    with closing(Camera(url, QUICK)) as camera:
        assert camera.read(5) is not None
        process.send_signal(signal.SIGSTOP)
        assert until(lambda: camera.state.name == "lost")
        frames = camera.state.frames
        process.send_signal(signal.SIGCONT)
        assert until(lambda: (shot := camera.read(0.2)) is not None and shot.number > frames)
        assert camera.state.name == "live"

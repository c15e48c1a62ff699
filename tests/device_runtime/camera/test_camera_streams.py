"""Streams of a real server on loopback: they lag, stall, break and come back."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from contextlib import ExitStack, closing

import pytest
from mjpeg import QUICK, MjpegServer, number_of
from waiting import until

from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.camera.video_source import Wanted
from reverie.device_runtime.errors import CameraError


def test_a_stream_is_read_and_what_is_read_is_the_newest(server):
    with closing(Camera(server.url, QUICK)) as camera:
        for _ in range(4):
            time.sleep(0.5)
            shot = camera.read(2)
            assert 0 <= server.sent - number_of(shot.image) <= 8  # a third of a second, of half a second's frames
        assert (camera.state.name, camera.state.size) == ("live", (256, 192))
        assert camera.state.rate > 1


def test_a_stream_that_is_cut_and_comes_back_goes_on_by_itself(server):
    with closing(Camera(server.url, QUICK)) as camera:
        assert camera.read(3) is not None
        server.close()
        assert until(lambda: camera.state.name == "lost")
        assert "trying again" in camera.state.says
        frames = camera.state.frames
        while camera.read(0.1) is not None:
            continue
        with closing(MjpegServer(port=server.port)) as again:
            assert until(lambda: camera.state.name == "live")
            shot = camera.read(3)
            assert shot.number > frames
            assert number_of(shot.image) <= again.sent


def test_a_stream_that_stalls_without_closing_is_lost_and_opened_again(server):
    with closing(Camera(server.url, QUICK)) as camera:
        assert camera.read(3) is not None
        server.stalled.set()
        assert until(lambda: camera.state.name == "lost")
        server.stalled.clear()
        assert until(lambda: camera.read(0.2) is not None and camera.state.name == "live")


def test_a_stream_that_trickles_is_lost_as_one_that_stalls(server):
    with closing(Camera(server.url, QUICK)) as camera:
        assert camera.read(3) is not None
        server.trickles.set()
        assert until(lambda: camera.state.name == "lost" and "trying again" in camera.state.says)
        server.trickles.clear()
        assert until(lambda: camera.read(0.2) is not None and camera.state.name == "live")


def test_a_server_that_breaks_off_after_every_picture_is_asked_again_and_again(server):
    server.once.set()
    with closing(Camera(server.url, QUICK)) as camera:
        assert until(lambda: camera.read(0.2) is not None and camera.state.frames > 2)


def test_pictures_that_are_broken_do_not_end_a_stream(server, capfd):
    with closing(Camera(server.url, QUICK)) as camera:
        assert camera.read(3) is not None
        server.garbage.set()
        time.sleep(1)
        server.garbage.clear()
        newest = server.sent
        assert until(lambda: (shot := camera.read(0.2)) is not None and number_of(shot.image) > newest)
    assert capfd.readouterr().err == ""


def test_a_stream_that_does_not_come_back_is_given_up_with_what_happened(server):
    with closing(Camera(server.url, QUICK, patience=1.5)) as camera:
        assert camera.read(3) is not None
        server.close()
        assert until(lambda: camera.over)
        with pytest.raises(CameraError, match="did not come back within"):
            until(lambda: camera.read(0.2) is None)  # the newest frame first, if it was not taken


def test_a_camera_that_is_waited_for_is_taken_when_it_comes():
    with closing(MjpegServer()) as found:
        port = found.port
    with closing(Camera(f"http://127.0.0.1:{port}/stream.mjpg", QUICK, patience=None)) as camera:
        assert until(lambda: camera.state.name == "lost")
        with closing(MjpegServer(port=port)):
            assert until(lambda: camera.read(0.2) is not None)


def test_a_wrong_password_is_told_without_it_and_the_right_one_works(capfd):
    with closing(MjpegServer(password="s3cret")) as server:  # noqa: S106 (a test's)
        address = server.url.removeprefix("http://")
        with pytest.raises(CameraError) as error:
            Camera(f"http://me:wr0ng@{address}", QUICK)
        assert "wr0ng" not in str(error.value)
        assert "***@127.0.0.1" in str(error.value)
        with closing(Camera(f"http://me:s3cret@{address}", QUICK)) as camera:
            assert camera.read(3) is not None
            server.close()
            assert until(lambda: camera.state.name == "lost")
            assert "s3cret" not in camera.state.says
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("what", ["refused", "not found", "never answers", "never accepts"])
def test_an_address_that_gives_no_stream_is_told_in_time(server, what):
    with ExitStack() as opened:
        other = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        port = other.getsockname()[1]
        if what == "refused":
            other.close()
        elif what == "never answers":
            threading.Thread(target=_accept, args=(other,), daemon=True).start()
        elif what == "never accepts":
            fillers = [opened.enter_context(socket.socket()) for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
        url = f"http://127.0.0.1:{server.port}/nothing" if what == "not found" else f"http://127.0.0.1:{port}/a.mjpg"
        began = time.monotonic()
        with pytest.raises(CameraError, match="check"):
            Camera(url, QUICK)
        assert time.monotonic() - began < 15  # no hang: the limits are 2 and 1 seconds


def test_closing_does_not_wait_for_a_stream_that_says_nothing(server):
    camera = Camera(server.url, Wanted(open_seconds=5, read_seconds=30))
    camera.read(3)
    server.stalled.set()
    time.sleep(0.2)
    began = time.monotonic()
    camera.close()
    assert time.monotonic() - began < 5


def _accept(listening):
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(listening.accept())

"""Streams of a real server on loopback: they lag, stall, break and come back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from mjpeg import SIZE, MjpegServer, number_of, numbered

from reverie.device_runtime.camera import Camera
from reverie.device_runtime.errors import CameraError
from reverie.device_runtime.video_source import Wanted

QUICK = Wanted(open_seconds=2, read_seconds=1)
HAS_RTSP = "import gi; gi.require_version('GstRtspServer', '1.0')"
GI_PYTHON = "/usr/bin/python3"
"""The one that Debian's python3-gi is for."""
PHOTO = Path(__file__).parents[1] / "photos/coffee.jpg"


@pytest.fixture
def server():
    with closing(MjpegServer(picture=cv2.imread(str(PHOTO)))) as serving:
        yield serving


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


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
        camera.read(0.2)  # the newest frame, if it was not taken
        with pytest.raises(CameraError, match="did not come back within"):
            camera.read(0.2)


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


def test_what_a_server_answers_in_place_of_pictures_opens_nothing_else(tmp_path):
    """A playlist that names a file of the box, or another server, is not followed."""
    secret = tmp_path / "secret.avi"
    writer = cv2.VideoWriter(str(secret), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for _ in range(5):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.3)
        there = f"http://127.0.0.1:{other.getsockname()[1]}/a.ts"
        for named in (there, f"file://{secret}", str(secret)):
            body = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{named}\n#EXT-X-ENDLIST\n".encode()
            for path in ("a.m3u8", "a.mjpg"):
                with closing(_Answers(body)) as server, pytest.raises(CameraError):
                    Camera(f"http://127.0.0.1:{server.port}/{path}", QUICK)
        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_answer_that_sends_elsewhere_is_not_followed(server, status):
    head = f"HTTP/1.1 {status} Elsewhere\r\nLocation: {server.url}\r\nContent-Length: 0\r\n\r\n"
    with closing(_Answers(b"", head)) as sends, pytest.raises(CameraError, match="gives no stream"):
        Camera(f"http://127.0.0.1:{sends.port}/stream.mjpg", QUICK)
    assert server.sent == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_camera_is_not_asked_through_a_proxy(server, monkeypatch, scheme):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.3)
        for variable in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        if scheme == "http":
            with closing(Camera(server.url, QUICK)) as camera:
                assert camera.read(3) is not None
        else:
            with pytest.raises(CameraError):
                Camera(server.url.replace("http", "https"), QUICK)
        with pytest.raises(TimeoutError):
            proxy.accept()


LEAVES = """
import sys, time
from reverie.device_runtime.camera import Camera
from reverie.device_runtime.video_source import Wanted

class TakesLong:  # what Python does last, while the thread of the camera comes back
    def __del__(self, sleep=time.sleep):
        sleep(3)

camera = Camera(sys.argv[1], Wanted(read_seconds=1.5))
camera.read(5)
print("stall", flush=True)
sys.stdin.readline()
if sys.argv[2] == "closes":
    camera.close()
last = TakesLong()
"""


@pytest.mark.parametrize("how", ["closes", "does not close"])
def test_a_process_leaves_in_peace_while_a_stream_says_nothing(server, how):
    command = [sys.executable, "-c", LEAVES, server.url, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "stall\n"
        server.stalled.set()
        time.sleep(0.2)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(30) == 0


class _Answers:
    """Answers each request with `body`, as a playlist unless `head` says otherwise."""

    def __init__(self, body, head=None):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        kind = "application/vnd.apple.mpegurl"
        head = head or f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._content = head.encode() + body
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(self._content)

    def close(self):
        self._socket.close()


def _accept(listening):
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(listening.accept())


@pytest.fixture
def rtsp_server(tmp_path):
    """The address of a real RTSP server that plays 200 numbered frames, and how to end it."""
    if subprocess.run(
        [GI_PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"], check=False
    ).returncode:
        if os.environ.get("CI"):
            pytest.fail("CI installs gir1.2-gst-rtsp-server-1.0 and python3-gi")
        pytest.skip("needs Debian's gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-good")
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, SIZE)
    for number in range(1, 201):
        writer.write(numbered(number, cv2.imread(str(PHOTO))))
    writer.release()
    script = Path(__file__).parents[1] / "streams/rtsp_server.py"
    process = subprocess.Popen([GI_PYTHON, script, tmp_path / "clip.avi"], stdout=subprocess.PIPE, text=True)
    yield process.stdout.readline().strip(), process
    process.kill()
    process.communicate()


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

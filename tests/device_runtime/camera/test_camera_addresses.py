"""What a stream's server answers sends the box nowhere else, and no process hangs on it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import cv2
import numpy as np
import pytest
from mjpeg import QUICK

from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.errors import CameraError


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
from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.camera.video_source import Wanted

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

"""A camera on the network as many are: JPEG after JPEG over HTTP, on loopback; it can stall, break and be cut.

Each frame carries its number, so that a test sees which ones arrive and how late.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from reverie.device_runtime.camera.video_source import Wanted

QUICK = Wanted(open_seconds=2, read_seconds=1)
PHOTO = Path(__file__).parents[1] / "photos/coffee.jpg"
BITS, BLOCK = 16, 16
SIZE = (BITS * BLOCK, 192)
"""Width and height."""


def numbered(number, picture=None):
    """A frame with `number` as black and white blocks along its upper edge."""
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8) if picture is None else cv2.resize(picture, SIZE)
    for bit in range(BITS):
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 if number >> bit & 1 else 0
    return image


def number_of(image):
    """What `numbered` wrote."""
    blocks = image[:BLOCK].reshape(BLOCK, BITS, BLOCK, -1).mean(axis=(0, 2, 3))
    return sum(1 << bit for bit, level in enumerate(blocks) if level > 127)


class MjpegServer:
    """Serves until it is closed; `sent` is the number of the newest frame that went out."""

    def __init__(self, port=0, rate=25, picture=None, password=None, scale=1):
        self.rate, self.picture, self.password, self.scale = rate, picture, password, scale
        self.sent = 0
        self.stalled = threading.Event()
        self.trickles = threading.Event()
        self.once = threading.Event()
        self.garbage = threading.Event()
        self.connections = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self):
        return self._server.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/stream.mjpg"

    def close(self):
        """As a camera whose plug is pulled: connections end, and no new one is taken."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """One client of `camera`."""

    def __init__(self, camera, *arguments):
        self.camera = camera
        super().__init__(*arguments)

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path != "/stream.mjpg":
            self.send_error(404)
        elif not self._may():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
        else:
            self.camera.connections.add(self.connection)
            with contextlib.suppress(OSError):  # the client left
                self._stream()
            self.camera.connections.discard(self.connection)

    def _may(self):
        given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        return self.camera.password in {None, given.partition(":")[2]}

    def _stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        while True:
            if self.camera.trickles.is_set():
                self.wfile.write(b"\0")
            elif not self.camera.stalled.is_set():
                self.camera.sent += 1
                image = numbered(self.camera.sent, self.camera.picture)
                if self.camera.scale != 1:
                    image = cv2.resize(image, None, fx=self.camera.scale, fy=self.camera.scale)
                content = cv2.imencode(".jpg", image)[1].tobytes()
                if self.camera.garbage.is_set():
                    content = content[: len(content) // 3] + bytes(200)
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
                self.wfile.write(head.encode() + content + b"\r\n")
                if self.camera.once.is_set():
                    return
            time.sleep(1 / self.camera.rate)

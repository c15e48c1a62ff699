"""The guide to a camera, from top to bottom."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import closing

import cv2
import pytest
from clips import wander, write_clip
from guide import Reader
from mjpeg import MjpegServer
from served import AS_STARTED, RUN, Served
from waiting import PATIENCE

pytest.importorskip("uvicorn", reason="the guide installs .[page]")

HOME = "--home /var/lib/reverie"
VIEW = f"reverie capture {HOME} --source 0"
STREAM = "rtsp://user:password@camera/stream"


def look_and_leave(*arguments):
    """The view in a terminal, which is left with its key once it shows a frame; what was on the screen."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    command = [sys.executable, "-c", AS_STARTED, *arguments]
    shown = b""
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True) as process:
        os.set_blocking(screen, False)
        end = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < end:
            try:
                shown += os.read(screen, 1 << 16)
            except BlockingIOError:
                time.sleep(0.05)
            if b"%" in shown:
                os.write(screen, b"q")
        process.kill()
    os.close(terminal)
    os.close(screen)
    assert process.returncode == 0, shown.decode(errors="replace")
    return shown.decode(errors="replace")


def first_line_of_a_frame(*arguments):
    """What a program reads that has enough after one frame."""
    command = [sys.executable, "-c", RUN, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = next(line for line in process.stdout if "frame" in json.loads(line))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    return line


def open_the_page(name, *arguments):
    """What a browser gets at the address that is printed."""
    assert name == "serve"
    server = Served(*arguments)
    try:
        status, _, page = server.had("GET", "/")
        assert status == 200
        return page.decode()
    finally:
        server.end()


@pytest.mark.usefixtures("few_steps", "anything_serves")
def test_the_guide_to_a_camera_can_be_followed_from_top_to_bottom(repository, home, workspace, reverie):
    clip = write_clip(workspace / "cat.avi", wander("chelsea", 60))
    picture = cv2.resize(next(wander("chelsea", 1)), (256, 192))
    counted, page = f"{VIEW} --label cup --count 40", f"reverie serve {HOME} --source 0"
    with closing(MjpegServer(picture=picture, password="password")) as server:  # noqa: S106 (as in the guide)
        reader = Reader(
            reverie,
            instead={
                "/var/lib/reverie": home,
                "--source 0": f"--source {clip}",
                STREAM: server.url.replace("//", "//user:password@"),
            },
            before={VIEW: [lambda: ["--loop"]], counted: [lambda: ["--fast"]], page: [lambda: ["--loop"]]},
            otherwise={
                VIEW: look_and_leave,
                f"reverie predict {HOME} --source {STREAM} --json": first_line_of_a_frame,
                page: open_the_page,
            },
        )
        said = reader.follow(repository / "docs/guide/camera.md")
    assert "40 frames kept" in said[counted]
    assert "cup" in said[f"reverie update {HOME}"]
    assert {"label", "probability", "probabilities", "margin", "milliseconds", "rate", "generation", "ask"} <= set(
        json.loads(said[f"reverie predict {HOME} --source {STREAM} --json"])
    )
    assert "<html" in said[page]

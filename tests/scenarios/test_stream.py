"""A camera on the network shows a cup, is cut off in the middle, comes back, and the capture goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from served import RUN

from reverie.device_runtime import frame_store

PYTHON = "/usr/bin/python3"
"""The one that Debian's python3-gi is for."""
SCRIPT = Path(__file__).parents[1] / "streams/rtsp_server.py"
HAS_RTSP = "import gi; gi.require_version('GstRtspServer', '1.0')"


@pytest.fixture
def play():
    """Start an RTSP server that plays a clip: its address, and its process."""
    if subprocess.run([PYTHON, "-c", HAS_RTSP], check=False, capture_output=True).returncode:
        if os.environ.get("CI"):
            pytest.fail("CI installs gir1.2-gst-rtsp-server-1.0 and python3-gi")
        pytest.skip("needs Debian's gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-good")
    started = []

    def begin(clip, port=0):
        process = subprocess.Popen([PYTHON, SCRIPT, clip, str(port)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process.stdout.readline().strip(), process

    yield begin
    for process in started:
        process.kill()
        with process:
            pass


def test_a_stream_is_captured_cut_and_captured_on(reverie, material, play, tmp_path):
    home = tmp_path / "home"
    assert reverie("install", material.bundle, "--home", home).code == 0
    url, server = play(material.learnt["cup"])
    arguments = ["--source", url, "--label", "cup", "--count", "30", "--every", "0.1", "--json"]
    command = [sys.executable, "-c", RUN, "capture", "--home", str(home), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as capture:
        kept = 0
        while kept < 8:
            kept += json.loads(capture.stdout.readline())["kept"]
        server.kill()
        server.wait()
        time.sleep(2)
        play(material.tested["cup"], urlsplit(url).port)
        out, error = capture.communicate(timeout=120)
        assert (capture.returncode, error) == (0, "")
    end = json.loads(out.splitlines()[-1])
    assert end["stored"] == {"cup": 30}
    with frame_store.opened(home) as frames:
        assert len(frames.stored()) == 30

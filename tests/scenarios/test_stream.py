"""A camera on the network shows a cup, is cut off in the middle, comes back, and the capture goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from urllib.parse import urlsplit

from rtsp import playing
from served import RUN

from reverie.device_runtime.frames import frame_store


def test_a_stream_is_captured_cut_and_captured_on(reverie, material, tmp_path):
    home = tmp_path / "home"
    assert reverie("install", material.bundle, "--home", home).code == 0
    with playing(material.learnt["cup"]) as (url, server):
        kept_on(home, url, server, material.tested["cup"])
    with frame_store.opened(home) as frames:
        assert len(frames.stored()) == 30


def kept_on(home, url, server, later):
    """Capture from `url`, end its server in the middle, and let one that plays `later` take its place."""
    arguments = ["--source", url, "--label", "cup", "--count", "30", "--every", "0.1", "--json"]
    command = [sys.executable, "-c", RUN, "capture", "--home", str(home), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as capture:
        kept = 0
        while kept < 8:
            kept += json.loads(capture.stdout.readline())["kept"]
        server.kill()
        server.wait()
        time.sleep(2)
        with playing(later, urlsplit(url).port):
            out, error = capture.communicate(timeout=120)
        assert (capture.returncode, error) == (0, "")
    end = json.loads(out.splitlines()[-1])
    assert end["stored"] == {"cup": 30}

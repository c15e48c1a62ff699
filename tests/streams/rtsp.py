"""Start `rtsp_server.py`, which needs another Python, and see that it can be started."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3"
"""The one that Debian's python3-gi is for."""
HAS_RTSP = "import gi; gi.require_version('GstRtspServer', '1.0')"


@contextlib.contextmanager
def playing(clip, port=0):
    """A real RTSP server that plays a clip: its address, and its process."""
    here = os.access(PYTHON, os.X_OK)
    if not here or subprocess.run([PYTHON, "-c", HAS_RTSP], check=False, capture_output=True).returncode:
        if os.environ.get("CI"):
            pytest.fail("CI installs gir1.2-gst-rtsp-server-1.0 and python3-gi")
        pytest.skip("needs Debian's gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-good")
    script = Path(__file__).with_name("rtsp_server.py")
    with subprocess.Popen([PYTHON, script, clip, str(port)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()

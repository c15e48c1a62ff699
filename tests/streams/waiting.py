"""What tests of cameras wait for, and what they find in a home."""

from __future__ import annotations

import time

import pytest

from reverie.device_runtime.frames import frame_store

PATIENCE = 600
"""Seconds; nothing here is about speed, and a machine that also does other work may take its time."""


def until(condition, shows=lambda: ""):
    """Wait until `condition` holds, and say so; once patience ends the test fails with what `shows` tells."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return pytest.fail(f"not within {PATIENCE} s; {shows()}")


def stored(home):
    """The labels of the stored frames."""
    with frame_store.opened(home) as frames:
        return [frame.label for frame in frames.stored()]

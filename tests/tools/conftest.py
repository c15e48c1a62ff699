"""Clips for tests of what a camera shows."""

from __future__ import annotations

import pytest
from clips import wander, write_clip


@pytest.fixture(scope="session")
def cat_clip(tmp_path_factory):
    """60 frames of a cat, at 25 a second."""
    return write_clip(tmp_path_factory.mktemp("clips") / "cat.avi", wander("chelsea", 60))


@pytest.fixture(scope="session")
def rocket_clip(tmp_path_factory):
    """60 frames of a rocket."""
    return write_clip(tmp_path_factory.mktemp("clips") / "rocket.avi", wander("rocket", 60))

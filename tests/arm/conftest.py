from __future__ import annotations

import os
import sys

import pytest
from arm_box import BOX, Box


@pytest.fixture(scope="session")
def arm():
    """Made by `tests/arm/box.sh`, as `make arm` does."""
    if not (BOX / "python").exists():
        pytest.skip("no emulated box is here: make arm")
    return Box(str(BOX / "python"))


@pytest.fixture(scope="session")
def here():
    return Box(sys.executable)


@pytest.fixture(scope="session", autouse=True)
def _one_core():
    """An emulated box of one core: a second one would take turns with whatever else runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:1])
    yield
    os.sched_setaffinity(0, before)

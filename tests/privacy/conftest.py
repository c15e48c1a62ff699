from __future__ import annotations

import os

import pytest
from outside import require


@pytest.fixture(scope="session")
def strace():
    return require("strace", "-qq", "-o", os.devnull, "true")


@pytest.fixture(scope="session")
def without_network():
    """The start of a command that runs the rest of it in a network of its own, which leads nowhere."""
    return require("unshare", "-n", "true"), "-n"

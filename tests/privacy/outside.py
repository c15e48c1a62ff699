"""Tools that look at a process from outside; where one is missing or may not be used, its tests are skipped."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def require(tool, *trial):
    """Path of `tool`, which must be able to run `trial`; else skip."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    if subprocess.run([path, *trial], capture_output=True, check=False).returncode:
        pytest.skip(f"{tool} may not be used here")
    return path

"""Tools that look at a process from outside; where one is missing or may not be used, its tests are skipped."""

from __future__ import annotations

import shutil
import subprocess

import pytest

ANYTHING_SERVES = """
from reverie.device_runtime.promotion import decision
from reverie.device_runtime.changes import transaction
from reverie.device_runtime.config import PromotionConfig
lenient = PromotionConfig(
    floor=0, gain=-1, label_noise=1, agreement_drop=1, canary_drop=1, collapse=0, latency_ratio=1e9
)
decide = decision.decide
transaction.decide = lambda figures, *_: decide(figures, lenient)
"""
"""At the start of a script: updates serve that had no time to learn."""


def require(tool, *trial):
    """Path of `tool`, which must be able to run `trial`; else skip."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    if subprocess.run([path, *trial], capture_output=True, check=False).returncode:
        pytest.skip(f"{tool} may not be used here")
    return path

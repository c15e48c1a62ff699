"""Architectures are built in torch. Without it the folder is left out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

HERE = Path(__file__).parent
HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore_glob = [] if HAS_TORCH else ["*"]

if HAS_TORCH:
    import torch

    torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("workstation")

"""What tests of the benches share."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def images(frames_folder, test_folder, tmp_path):
    """20 images of each class that is known, and 40 of bag and sneaker."""
    folder = tmp_path / "images"
    for label in ("bag", "sandal", "sneaker", "t-shirt", "trouser"):
        shutil.copytree((frames_folder if (frames_folder / label).exists() else test_folder) / label, folder / label)
    return folder

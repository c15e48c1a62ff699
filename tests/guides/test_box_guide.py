"""The guide to a box, from top to bottom."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from clips import wander
from guide import Reader

from reverie.device_runtime.changes import gathering, transaction
from reverie.device_runtime.config import UpdateConfig

pytest.importorskip("matplotlib", reason="the guide installs .[report]")

HOME = "--home /var/lib/reverie"


@pytest.fixture
def box(workspace, bundle, frames_folder, test_folder):
    """The folder in which somebody sits who has a bundle, frames and pictures."""
    shutil.copytree(bundle, workspace / "bundle")
    shutil.copytree(frames_folder, workspace / "new-frames")
    for label in ("bag", "sneaker"):
        shutil.copytree(test_folder / label, workspace / "more-frames" / label)
    (workspace / "folder").mkdir()
    (workspace / "more").mkdir()
    for at, picture in enumerate(wander("coffee", 16)):
        where = workspace / ("picture.jpg" if at == 0 else f"more/{at:02}.jpg")
        cv2.imwrite(str(where), picture)
    shutil.copy(workspace / "picture.jpg", workspace / "folder")
    cv2.imwrite(str(workspace / "more/16.png"), np.zeros((28, 28), np.uint8))
    return workspace


@pytest.mark.usefixtures("few_steps", "anything_serves")
def test_the_guide_to_a_box_can_be_followed_from_top_to_bottom(repository, box, reverie):
    home = box / "home"

    def cut_off():
        """An update is begun, and goes no further."""
        with transaction.changing(home) as journal:
            gathering.begin(home, journal, box / "new-frames", UpdateConfig())

    reader = Reader(
        reverie,
        instead={"/var/lib/reverie": home},
        before={f"reverie update {HOME}": [cut_off], f"reverie update {HOME} --restart": [cut_off]},
    )
    said = reader.follow(repository / "docs/guide/box.md")
    assert "serves generation 0001" in " ".join(said[f"reverie update {HOME} --frames new-frames"].split())
    assert said[f"reverie predict {HOME} picture.jpg folder/ --json"].count('"label"') == 2
    assert "no update in progress any more" in said[f"reverie update {HOME} --restart"]
    assert "16 of 17 frames added; cup has 16" in said[f"reverie add {HOME} --label cup picture.jpg more/"]
    assert "too dark" in said[f"reverie frames {HOME}"]
    assert "cup" in said[f"reverie update {HOME}"]
    assert {"installed", "0001", "dropped"} <= set(said[f"reverie history {HOME}"].replace(",", " ").split())
    assert "<html" in (box / "report.html").read_text("utf-8")

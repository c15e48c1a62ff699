"""Real clips and a real bundle, which `make .clips` fetches and makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest

FOLDER = Path(__file__).parents[2] / ".clips"


class Material(NamedTuple):
    """A bundle that knows four clips, and the first and second halves of clips of two other things."""

    bundle: Path
    learnt: dict[str, Path]
    tested: dict[str, Path]


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    if not FOLDER.is_dir():
        if os.environ.get("CI"):
            pytest.fail("CI runs make .clips")
        pytest.skip("needs the clips and the bundle that `make .clips` fetches and makes")
    halves = tmp_path_factory.mktemp("halves")
    learnt, tested = {}, {}
    for name in ("cup", "box"):
        learnt[name], tested[name] = (halves / f"{name}-{half}.avi" for half in (1, 2))
        _cut(FOLDER / f"clips/{name}.mp4", learnt[name], tested[name])
    return Material(FOLDER / "bundle", learnt, tested)


def _cut(clip, first, second):
    """The two halves of a clip, as files of JPEG frames."""
    opened = cv2.VideoCapture(str(clip))
    frames = []
    while (read := opened.read())[0]:
        frames.append(read[1])
    opened.release()
    size = (frames[0].shape[1], frames[0].shape[0])
    for path, half in ((first, frames[: len(frames) // 2]), (second, frames[len(frames) // 2 :])):
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, size)
        for frame in half:
            writer.write(frame)
        writer.release()

"""`reverie bench clips`: video clips → class-named folders of frames to pretrain on, to learn and to test with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from reverie.device_runtime.bundle.labels import check_labels
from reverie.device_runtime.errors import FramesError

JPEG_QUALITY = 95


def split_clips(known: Sequence[Path], new: Sequence[Path], output: Path, most: int) -> dict[str, int]:
    """Write at most `most` frames of each half of each clip, evenly spaced; the label is the clip's name.

    First halves go to `output`/historical (known clips) and `output`/frames (new ones), second halves of all to
    `output`/test, so that no tested frame lies between learnt ones. Returns the number of frames by folder. Raises
    FramesError and leaves nothing behind.
    """
    from reverie.export.output import require_new

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong with a clip, our errors say
    require_new(output, FramesError)
    clips = [(clip, "historical") for clip in known] + [(clip, "frames") for clip in new]
    check_labels(tuple(clip.stem for clip, _ in clips), FramesError)
    written = {"historical": 0, "frames": 0, "test": 0}
    try:
        for clip, learnt in clips:
            length = _length(clip)
            middle = length // 2
            for part, first, end in ((learnt, 0, middle), ("test", middle, length)):
                chosen = np.unique(np.linspace(first, end - 1, min(most, end - first)).astype(int))
                _write(clip, set(chosen.tolist()), output / part / clip.stem)
                written[part] += len(chosen)
    except BaseException:
        shutil.rmtree(output, ignore_errors=True)
        raise
    return written


def _length(clip: Path) -> int:
    """Number of frames, counted by reading them: what a clip says of itself is often wrong. Raises FramesError."""
    capture = cv2.VideoCapture(str(clip))
    length = 0
    while capture.grab():
        length += 1
    if length < 2:
        raise FramesError(f"{clip} is no video clip that can be read, or has fewer than two frames")
    return length


def _write(clip: Path, chosen: set[int], folder: Path) -> None:
    """Write the frames numbered `chosen` into `folder` as JPEG files."""
    folder.mkdir(parents=True)
    capture = cv2.VideoCapture(str(clip))
    for number in range(max(chosen) + 1):
        capture.grab()
        if number in chosen:
            decoded, image = capture.retrieve()
            encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1] if decoded else None
            if encoded is None:
                raise FramesError(f"frame {number} of {clip} cannot be decoded: is the file whole?")
            (folder / f"{number:06d}.jpg").write_bytes(encoded.tobytes())

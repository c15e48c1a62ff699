"""Clips made of photographs: a window that wanders over one of them, so that no two frames are the same."""

from __future__ import annotations

from pathlib import Path

import cv2

PHOTOS = Path(__file__).parents[1] / "photos"
SIZE = (240, 200)
"""Width and height of a frame."""


def wander(photo, frames):
    """Frames (H, W, 3), each a window of the photograph a few pixels further."""
    picture = cv2.imread(str(PHOTOS / f"{photo}.jpg"))
    for number in range(frames):
        left = _there_and_back(7 * number, picture.shape[1] - SIZE[0])
        top = _there_and_back(5 * number, picture.shape[0] - SIZE[1])
        yield picture[top : top + SIZE[1], left : left + SIZE[0]]


def _there_and_back(way, most):
    return most - abs(way % (2 * most) - most)


def write_clip(path, frames, rate=25.0):
    """Frames of one size as a file of JPEG frames."""
    writer = None
    for frame in frames:
        size = (frame.shape[1], frame.shape[0])
        writer = writer or cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, size)
        writer.write(frame)
    writer.release()
    return path

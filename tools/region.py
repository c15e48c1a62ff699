"""The region of interest: the part of a frame that is looked at, kept and predicted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.device_runtime.errors import FramesError


class Region(NamedTuple):
    """Pixels from the left and from the top, width and height."""

    left: int
    top: int
    width: int
    height: int


def cut(image: np.ndarray, region: Region | None) -> np.ndarray:
    """That part of an image (H, W, 3); all of it where `region` is None. Raises FramesError if it is empty or lies
    outside.
    """
    if region is None:
        return image
    high, wide = image.shape[:2]
    if min(region.width, region.height) < 1:
        raise FramesError(f"the region {','.join(map(str, region))} has no pixel: give another")
    if min(region) < 0 or region.left + region.width > wide or region.top + region.height > high:
        raise FramesError(
            f"the region {','.join(map(str, region))} lies outside of frames of {wide}x{high} pixels: give another"
        )
    return image[region.top : region.top + region.height, region.left : region.left + region.width]

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


def region_of(named: object) -> Region:
    """The region that somebody names. Raises ValueError unless it is a list of four numbers that a frame could hold."""
    if isinstance(named, list) and len(named) == 4 and all(type(part) is int and part >= 0 for part in named):
        region = Region(*named)
        if min(region.width, region.height) > 0:
            return region
    raise ValueError("a region is four numbers of pixels: from the left and from the top, width and height")


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

"""The preprocessing that a provider states, and how far the device's code is from the provider's own on photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reverie.device_runtime.bundle.preprocess import Preprocessing, find_images, image_to_input
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.errors import ExportError, first_line
from reverie.export.solvers.factories import find_callable

TOLERANCE = 0.02
"""Largest mean difference allowed on a photograph, as a share of the range of inputs, from black to white.

Pillow's resampling and OpenCV's by area differ by 0.3 % at 224 pixels and 1.5 % at 16; a wrong order of colours, scale
or resize rule by some 20 %.
"""

Stated = Mapping[str, Any]
"""What was stated of resize, interpolation, colour, scale, mean and std; None or left out where nothing was."""


def with_stated(how: Preprocessing, stated: Stated) -> Preprocessing:
    """`how` with what is stated in place of its own. Raises ExportError.

    input = (pixel · scale - mean) / std, with pixels in 0..255; once one of the three is stated, the others are 1/255,
    0 and 1. `resize` is "exact", "stretch", or pixels of the shorter side, of which the middle is cut out.
    """
    given = {name: value for name, value in stated.items() if value is not None}
    changes: dict[str, Any] = {name: given[name] for name in ("interpolation", "colour") if name in given}
    if isinstance(given.get("resize"), int):
        changes |= {"resize": "shorter", "shorter": given["resize"]}
    elif "resize" in given:
        changes["resize"] = given["resize"]
    if {"scale", "mean", "std"} & given.keys():
        scale = float(given.get("scale", 1 / 255))
        if not scale:
            raise ExportError("--scale 0 makes every image the same: give what pixels are multiplied by, such as 1/255")
        for name, values in (("mean", given.get("mean", (0.0,))), ("scale", given.get("std", (1.0,)))):
            each = tuple(value / scale for value in values)
            changes[name] = each[0] if len(each) == 1 else each
    changed = replace(how, **changes)
    try:
        changed.check()
    except ValueError as error:
        raise ExportError(f"{error}: change the options that state the preprocessing") from None
    return changed


def input_range(how: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """What black and what white become in each channel, (C,) float32."""
    mean, scale = (np.broadcast_to(np.asarray(n, np.float32), how.channels) for n in (how.mean, how.scale))
    return (0 - mean) / scale, (255 - mean) / scale


def compare_with_callable(how: Preprocessing, name: str, photos: Path) -> dict[str, Any]:
    """How far the device's code is from the callable `package.module:callable` on all images below `photos`.

    The callable takes the path of an image file and returns the input, (C, H, W), alone or as a batch of one, as an
    array or a tensor. Returns the largest difference and the largest mean absolute one of a photograph, as shares of
    the range from black to white, and that photograph. Raises ExportError where the mean is beyond TOLERANCE.
    """
    own = find_callable(name)
    low, high = (side.reshape((-1, 1, 1) if how.layout == "chw" else (1, 1, -1)) for side in input_range(how))
    largest, worst, at = 0.0, -1.0, ""
    images = find_images(photos)
    for path in images:
        ours = image_to_input(read_image(path), how, path)
        theirs = _called(own, name, path)
        if theirs.shape != ours.shape:
            raise ExportError(
                f"{name} makes {theirs.shape} of {path}, the preprocessing {ours.shape}: state the size that it makes"
            )
        differences = np.abs((ours - theirs) / (high - low))
        if not np.isfinite(differences).all():
            raise ExportError(f"{name} makes values that are no numbers of {path}")
        largest = max(largest, float(differences.max()))
        if differences.mean() > worst:
            worst, at = float(differences.mean()), path.name
    if worst > TOLERANCE:
        raise ExportError(
            f"the preprocessing differs from {name} by {worst:.1%} of the range on {at}, on average over it (at most "
            f"{TOLERANCE:.0%} is allowed): check --colour, --scale, --mean, --std, --resize and --interpolation"
        )
    return {"callable": name, "photographs": len(images), "largest": largest, "mean": worst, "at": at,
            "tolerance": TOLERANCE}  # fmt: skip


def _called(own: Any, name: str, path: Path) -> np.ndarray:
    try:
        made = np.asarray(own(str(path)), dtype=np.float32)
    except Exception as error:
        raise ExportError(f"{name} failed on {path} ({type(error).__name__}: {first_line(error)})") from error
    return made[0] if made.ndim == 4 and made.shape[0] == 1 else made

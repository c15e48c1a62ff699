"""Image file or frame → solver input, with OpenCV; the exporter uses the same code, so both halves agree."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from reverie.device_runtime import MAX_PIXELS
from reverie.device_runtime.errors import FramesError

COLOURS = ("grey", "rgb", "bgr")
RESIZES = ("exact", "stretch", "shorter")
INTERPOLATIONS = ("auto", "nearest", "linear", "cubic", "area", "lanczos")
LAYOUTS = ("chw", "hwc")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Preprocessing:
    """How a frame becomes an input: resized, cut, its colours ordered, (pixel - mean) / scale, laid out.

    `resize` is "exact" (another size is refused), "stretch" to height and width, or "shorter": the shorter side
    becomes `shorter` pixels and the middle is cut out. `interpolation` is "nearest", "linear", "cubic", "area",
    "lanczos", or "auto": area where it shrinks and linear where it grows. `colour` is "grey", "rgb" or "bgr".
    `mean` and `scale`, of pixels in 0..255, are one number or one for each channel. `layout` is "chw" or "hwc".
    """

    height: int
    width: int
    colour: str
    resize: str = "exact"
    mean: float | tuple[float, ...] = 127.5
    scale: float | tuple[float, ...] = 127.5
    shorter: int = 0
    interpolation: str = "auto"
    layout: str = "chw"

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preprocessing:
        """What `dataclasses.asdict` made, read from JSON. Raises TypeError or ValueError."""
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        how = cls(**values | lists)
        how.check()
        return how

    @property
    def channels(self) -> int:
        """Channels of an input."""
        return 1 if self.colour == "grey" else 3

    def check(self) -> None:
        """Raise ValueError where a rule is unknown or a number cannot be used."""
        sizes = (self.height, self.width, self.shorter or 1)
        if not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError("a size is not a positive whole number")
        if max(self.height * self.width, self.shorter**2) > MAX_PIXELS:
            raise ValueError(f"an input has more than {MAX_PIXELS:,} pixels")
        known = (
            self.colour in COLOURS
            and self.resize in RESIZES
            and self.interpolation in INTERPOLATIONS
            and self.layout in LAYOUTS
        )
        if not known:
            raise ValueError("the preprocessing is unknown")
        if self.resize == "shorter" and self.shorter < max(self.height, self.width):
            raise ValueError("the preprocessing cuts out more than there is after resizing")
        for numbers in (self.mean, self.scale):
            each = numbers if isinstance(numbers, tuple) else (numbers,)
            if len(each) not in {1, self.channels} or not all(
                isinstance(n, int | float) and math.isfinite(n) for n in each
            ):
                raise ValueError("mean and scale are not one number, or one for each channel")
        if not np.all(self.scale):
            raise ValueError("the preprocessing divides by zero")


INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


def image_to_input(image: np.ndarray, how: Preprocessing, where: object = "the image") -> np.ndarray:
    """uint8 image (H, W) or (H, W, 3 in BGR order) → float32 input (C, H, W) or (H, W, C). Raises FramesError."""
    image = _resized(image, how, where)
    if how.colour == "grey":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        image = image[:, :, None]
    elif image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    elif how.colour == "rgb":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    x = (image.astype(np.float32) - np.asarray(how.mean, np.float32)) / np.asarray(how.scale, np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1)) if how.layout == "chw" else x


def input_to_image(x: np.ndarray, how: Preprocessing) -> np.ndarray:
    """Inverse of `image_to_input`, for pictures of inputs: float32 → uint8 (H, W) or (H, W, 3 in BGR order)."""
    x = x.transpose(1, 2, 0) if how.layout == "chw" else x
    pixels = np.clip(np.rint(x * np.asarray(how.scale, np.float32) + np.asarray(how.mean, np.float32)), 0, 255).astype(
        np.uint8
    )
    if how.colour == "grey":
        return np.asarray(pixels[:, :, 0])
    return np.asarray(pixels[:, :, ::-1] if how.colour == "rgb" else pixels, order="C")


def _resized(image: np.ndarray, how: Preprocessing, where: object) -> np.ndarray:
    """`image` in the size of an input, by the rule."""
    high, wide = image.shape[:2]
    if how.resize == "shorter":
        # The sizes and the middle as torchvision's Resize and CenterCrop round them.
        whole_high, whole_wide = (how.shorter * side // min(high, wide) for side in (high, wide))
        if whole_high * whole_wide > MAX_PIXELS:
            raise FramesError(f"{where} is {wide}x{high} pixels, too narrow to be resized: cut out a part of it")
        image = _scaled(image, whole_high, whole_wide, how)
        top, left = round((image.shape[0] - how.height) / 2), round((image.shape[1] - how.width) / 2)
        return image[top : top + how.height, left : left + how.width]
    if (high, wide) != (how.height, how.width) and how.resize == "exact":
        raise FramesError(
            f"{where} is {wide}x{high} pixels, the solver takes {how.width}x{how.height}: "
            "resize it, or export with another resize rule"
        )
    return _scaled(image, how.height, how.width, how)


def _scaled(image: np.ndarray, height: int, width: int, how: Preprocessing) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] * image.shape[1] > height * width
    rule = ("area" if shrinks else "linear") if how.interpolation == "auto" else how.interpolation
    return np.asarray(cv2.resize(image, (width, height), interpolation=INTERPOLATION[rule]))


def resized_by(image: np.ndarray, share: float) -> np.ndarray:
    """An image whose sides are `share` of those of `image` (H, W) or (H, W, 3), and at least a pixel, by area."""
    high, wide = (max(1, round(side * share)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA))


def image_files(folder: Path) -> list[Path]:
    """The image files directly in `folder` that are not hidden, sorted by name."""
    return [folder / name for name in image_names(folder)]


def image_names(folder: Path) -> list[str]:
    """Names of the image files directly in `folder`, sorted: of many, they take less memory than paths."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if _is_named_as_image(e.name) and e.is_file())


def _is_named_as_image(name: str) -> bool:
    """Hidden files are none: macOS leaves one beside each file, of the same suffix."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def find_images(path: Path) -> list[Path]:
    """`path` itself if it is a file, or all image files below the folder `path`. Raises FramesError."""
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if _is_named_as_image(p.name) and p.is_file())
        if not found:
            raise FramesError(f"{path} holds no PNG or JPEG images")
        return found
    if not path.is_file():
        raise FramesError(f"{path} does not exist")
    return [path]

"""Image file or frame → solver input, with OpenCV; the exporter uses the same code, so both halves agree."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from reverie.device_runtime.bundle import Preprocessing
from reverie.device_runtime.errors import FramesError

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong with an image, our errors say

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def image_to_input(image: np.ndarray, how: Preprocessing, where: object = "the image") -> np.ndarray:
    """uint8 image (H, W) or (H, W, 3 in BGR order) → float32 input (C, H, W). Raises FramesError."""
    if image.shape[:2] != (how.height, how.width):
        if how.resize == "exact":
            raise FramesError(
                f"{where} is {image.shape[1]}x{image.shape[0]} pixels, the solver takes {how.width}x{how.height}: "
                "resize it, or export with another resize rule"
            )
        shrinks = image.shape[0] * image.shape[1] > how.height * how.width
        rule = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = cv2.resize(image, (how.width, how.height), interpolation=rule)
    if how.colour == "grey" and image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    elif how.colour == "rgb":
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
    channels_first = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    return (channels_first.astype(np.float32) - np.float32(how.mean)) / np.float32(how.scale)


def input_to_image(x: np.ndarray, how: Preprocessing) -> np.ndarray:
    """Inverse of `image_to_input` for pictures of generated inputs: float32 (C, H, W) → uint8, BGR or grey."""
    pixels = np.clip(np.rint(x * how.scale + how.mean), 0, 255).astype(np.uint8)
    return pixels[0] if how.colour == "grey" else np.ascontiguousarray(pixels[::-1].transpose(1, 2, 0))


def read_image(path: Path) -> np.ndarray:
    """Decode a PNG or JPEG file to uint8 (H, W) or (H, W, 3 in BGR order). Raises FramesError."""
    try:
        encoded = np.fromfile(path, dtype=np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_ANYCOLOR) if encoded.size else None
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise FramesError(f"{path} is not a readable PNG or JPEG image: remove or replace it")
    return np.asarray(image)


def image_files(folder: Path) -> list[Path]:
    """The image files directly in `folder`, sorted by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def find_images(path: Path) -> list[Path]:
    """`path` itself if it is a file, or all image files below the folder `path`. Raises FramesError."""
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not found:
            raise FramesError(f"{path} holds no PNG or JPEG images")
        return found
    if not path.is_file():
        raise FramesError(f"{path} does not exist")
    return [path]

"""PNG and JPEG files → pixels. What a file says of its size is read before anything is decoded; nothing else is opened.

OpenCV tells formats by their first bytes, whatever the name of the file, and knows many: only two reach it from here.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from reverie.device_runtime import MAX_PIXELS
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.files import read_file

MAX_BYTES = 32 << 20
"""Of an encoded image; decoding such images takes some 200 MB."""

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong with an image, our errors say

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FILL = re.compile(rb"\xff*")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))
"""Markers that belong into or behind a scan; what follows them could be taken for a length, and so hide a header."""
_START_OF_SCAN = 0xDA
MAX_SEGMENTS = 10_000


class ImageSize(NamedTuple):
    """Width and height in pixels; `twice`: the decoder holds all of the image a second time, as coefficients."""

    width: int
    height: int
    twice: bool = False


def image_size(encoded: bytes) -> ImageSize:
    """What the header of a PNG or JPEG file says. Raises ValueError if it is neither, or has no such header."""
    if encoded.startswith(_PNG):
        return _png_size(encoded)
    if encoded.startswith(_JPEG):
        return _jpeg_size(encoded)
    raise ValueError("it is neither PNG nor JPEG")


def read_image(path: Path) -> np.ndarray:
    """Decode a PNG or JPEG file to uint8 (H, W) or (H, W, 3 in BGR order). Raises FramesError."""
    try:
        encoded = read_file(path, MAX_BYTES)
    except OSError:
        encoded = b""
    return decode_image(encoded, path)


def decode_image(encoded: bytes, where: object) -> np.ndarray:
    """Decode what a PNG or JPEG file holds to uint8 (H, W) or (H, W, 3 in BGR order). Raises FramesError."""
    unreadable = FramesError(f"{where} is not a readable PNG or JPEG image: remove or replace it")
    if len(encoded) > MAX_BYTES:
        raise FramesError(f"{where} has more than the {MAX_BYTES >> 20} MB that an image may have: make it smaller")
    try:
        size = image_size(encoded)
    except ValueError:
        raise unreadable from None
    pixels = size.width * size.height * (2 if size.twice else 1)
    if pixels > MAX_PIXELS:
        progressive = ", progressive ones half of that" if size.twice else ""
        raise FramesError(
            f"{where} has {size.width}x{size.height} pixels, images may have {MAX_PIXELS // 1_000_000} "
            f"million{progressive}: make it smaller"
        )
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_ANYCOLOR)
    except cv2.error:
        image = None
    if image is None:
        raise unreadable
    return np.asarray(image)


def _png_size(encoded: bytes) -> ImageSize:
    """The first chunk must be the header: length, "IHDR", width, height."""
    if len(encoded) < 33 or encoded[8:16] != b"\0\0\0\x0dIHDR":
        raise ValueError("it has no PNG header")
    return _not_empty(*struct.unpack_from(">II", encoded, 16))


def _jpeg_size(encoded: bytes) -> ImageSize:
    """Segments up to the first scan, each a marker and its length; one of them is the header of the frame."""
    at, size, components = 2, None, 0
    for _ in range(MAX_SEGMENTS):
        filled = _FILL.match(encoded, at)
        start, at = at, filled.end() if filled else at
        if at == start or at + 9 > len(encoded):
            break
        marker = encoded[at]
        (length,) = struct.unpack_from(">H", encoded, at + 1)
        if marker in _WITHOUT_LENGTH or length < 2:
            break
        if marker in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", encoded, at + 4)
            size = _not_empty(width, height, marker in _PROGRESSIVE)
        elif marker == _START_OF_SCAN and size is not None:
            return size._replace(twice=size.twice or encoded[at + 3] < components)
        at += 1 + length
    raise ValueError("it has no JPEG header")


def _not_empty(width: int, height: int, twice: bool = False) -> ImageSize:
    if not width or not height:
        raise ValueError("it has no size")
    return ImageSize(width, height, twice)

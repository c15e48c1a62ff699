"""Is a frame fit to be learnt? Checks from the uint8 image, and from what is known of others, to a reason or None.

Thresholds were set on Fashion-MNIST, MNIST, photographs and clips, so that of honest frames, shifted ones included, at
most a few in a thousand are set aside, and on what the checks are for: `docs/decisions.md`.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from reverie.device_runtime.bundle.preprocess import resized_by
from reverie.device_runtime.config import IntakeConfig

UNREADABLE = "unreadable"
WRONG_SIZE = "wrong size"
OVER_THE_CAP = "over the cap"
TOO_SMALL = "too small"
TOO_DARK = "too dark"
TOO_BRIGHT = "too bright"
BLANK = "blank"
BLURRED = "blurred"
HALF_DECODED = "half-decoded"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near duplicate"
HELD_BACK = "held back"

SMALLEST = 8
"""Pixels of the shorter side, below which nothing can be recognised."""
DARK, BRIGHT = 30, 235
"""Grey levels of 255: too dark if 99 % of the pixels are below the one, too bright if 99 % are above the other."""
FLAT = 3.0
"""Standard deviation of the thumbnail, in grey levels, below which a frame shows nothing."""
LOST = 0.2
"""Share of the rows, from the lowest up, in the colour of what was lost: from there on a frame is half-decoded."""
LOST_COLOURS = np.array([[128, 128, 128], [130, 130, 130], [0, 135, 0], [0, 77, 0]])
"""In BGR: grey, of a JPEG file that ends early and of a video's picture, and green, of a picture's planes of zeros."""
BESIDE = 0.1
"""Share of the pixels above these rows that may be in that colour."""
SAME = 3
"""Grey levels by which compression changes a colour."""
SIDE = 256
"""Light and sharpness are measured with the shorter side at no more than this: what no solver sees may be blurred."""
AREA = 1 << 21
"""And on no more pixels than this, which bounds the memory for images that are long and narrow."""
THUMBNAIL = 16
SIZE = THUMBNAIL * THUMBNAIL * 3
"""Values of a thumbnail."""
BLOCKS = np.array([[1 - 2 * ((i & j).bit_count() % 2) for j in range(16)] for i in range(16)], np.float32) / 16
"""From the means of a thumbnail's 4x4 blocks to its coarse values: their mean first, then their differences."""
ROUNDING = 1e-3
COMPARED = 1024
"""Thumbnails compared at a time."""
DIGEST = 32
CONTRADICTION = 3.0
"""Two labels contradict each other within this many times the distance of near duplicates."""


class Look(NamedTuple):
    """What is compared of a frame: SHA-256 of its pixels, and its thumbnail (768,) in uint8."""

    digest: bytes
    thumbnail: np.ndarray


class Match(NamedTuple):
    """An earlier frame that looks the same: the reason to set the later one aside, its key, whether labels differ."""

    reason: str
    key: int
    contradicts: bool


def flaw(image: np.ndarray, config: IntakeConfig) -> str | None:
    """Why one uint8 image (H, W) or (H, W, 3) cannot be learnt from, whatever else was shown."""
    if min(image.shape[:2]) < SMALLEST:
        return TOO_SMALL
    grey = _seen(image)
    light = _light(grey)
    if light is not None:
        return light
    if _shrunk(grey, THUMBNAIL, THUMBNAIL).std() < FLAT:
        return BLANK
    if is_half_decoded(image):
        return HALF_DECODED
    return BLURRED if sharpness(grey) < config.min_sharpness else None


def _light(grey: np.ndarray) -> str | None:
    """Whether there is too little or too much of it in grey levels (H, W)."""
    low, high = np.percentile(grey, (1, 99))
    if high < DARK:
        return TOO_DARK
    return TOO_BRIGHT if low > BRIGHT else None


def is_half_decoded(image: np.ndarray) -> bool:
    """Whether the lower rows of a uint8 image (H, W) or (H, W, 3) are what a decoder fills in for what it lacks.

    A wall in the same grey would be beside things, too, and not below them alone.
    """
    last = image[-1, -1].astype(int)
    colours = LOST_COLOURS if image.ndim == 3 else LOST_COLOURS[:2, :1]
    if (np.abs(colours - last) > SAME).any(axis=1).all():
        return False
    apart = np.asarray(cv2.absdiff(image, np.full_like(image, image[-1, -1]))).reshape(*image.shape[:2], -1)
    filled = apart.max(axis=2) <= SAME
    rows = int(np.cumprod(filled.all(axis=1)[::-1]).sum())
    above = filled[: len(image) - rows]
    return rows >= LOST * len(image) and above.size > 0 and float(above.mean()) < BESIDE


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian relative to that of the pixels, of grey levels (H, W).

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000; relative, so that contrast and
    light do not count, and after a Gaussian of one pixel, so that a camera's noise does not.
    """
    pixels = grey.astype(np.float32)
    smooth = cv2.GaussianBlur(pixels, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    laplacian = cv2.Laplacian(smooth, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE)
    return float(laplacian.var() / max(float(pixels.var()), 1e-6))


def look(image: np.ndarray) -> Look:
    """What is compared of a uint8 image (H, W) or (H, W, 3)."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return Look(digest.digest(), _shrunk(colour, THUMBNAIL, THUMBNAIL).ravel())


class Thumbnails(Protocol):
    """Where the thumbnails of earlier frames lie, uint8: 768 bytes of each would be too much to hold in memory."""

    def append(self, rows: np.ndarray, /) -> None:
        """Add thumbnails (N, 768)."""

    def __getitem__(self, at: np.ndarray, /) -> np.ndarray:
        """Those of the numbers `at`."""


class Earlier:
    """The frames that were taken so far, by a key that the caller chooses."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        """`thumbnails` is empty."""
        self._thumbnails = thumbnails
        self._keys = array("q")
        self._labels: list[str] = []
        self._digests = bytearray()
        self._coarse = np.empty((len(BLOCKS), 64), np.float32)

    def add(self, key: int, label: str, seen: Look) -> None:
        """One more frame was taken."""
        at = len(self._keys)
        if at == self._coarse.shape[1]:
            self._coarse = np.concatenate([self._coarse, np.empty_like(self._coarse)], axis=1)
        self._coarse[:, at] = _coarse(seen.thumbnail)
        self._thumbnails.append(seen.thumbnail[None])
        self._keys.append(key)
        self._labels.append(label)
        self._digests += seen.digest

    def match(self, seen: Look, label: str, config: IntakeConfig) -> Match | None:
        """An earlier frame that looks the same; one with another label comes first."""
        reach = max(CONTRADICTION * config.near_duplicate, 1e-6)
        same: Match | None = None
        rows = self._within(reach, _coarse(seen.thumbnail))
        for some in np.array_split(rows, range(COMPARED, len(rows), COMPARED)):
            thumbnails = self._thumbnails[some].astype(np.float32)
            distances = np.sqrt(((thumbnails - seen.thumbnail.astype(np.float32)) ** 2).mean(axis=1))
            for row, distance in zip(some.tolist(), distances.tolist(), strict=True):
                exact = self._digests[DIGEST * row : DIGEST * (row + 1)] == seen.digest
                if self._labels[row] != label and (exact or distance < CONTRADICTION * config.near_duplicate):
                    return Match(contradiction(self._labels[row]), self._keys[row], contradicts=True)
                if self._labels[row] == label and (exact or distance < config.near_duplicate):
                    same = same or Match(DUPLICATE if exact else NEAR_DUPLICATE, self._keys[row], contradicts=False)
        return same

    def _within(self, reach: float, coarse: np.ndarray) -> np.ndarray:
        """Numbers of the frames whose thumbnails can be within `reach`: none of their coarse values may differ more."""
        rows = np.flatnonzero(np.abs(self._coarse[0, : len(self._keys)] - coarse[0]) <= reach + ROUNDING)
        for values, own in zip(self._coarse[1:], coarse[1:], strict=True):
            if not len(rows):
                break
            rows = rows[np.abs(values[rows] - own) <= reach + ROUNDING]
        return rows


def _coarse(thumbnail: np.ndarray) -> np.ndarray:
    """What a thumbnail (768,) is compared by first (16,): parts of it along axes at right angles.

    Two thumbnails differ by no less, as the root of the mean square, than any of these values do.
    """
    side = THUMBNAIL // 4
    blocks = thumbnail.reshape(4, side, 4, side, 3).mean(axis=(1, 3, 4), dtype=np.float32)
    return np.asarray(BLOCKS @ blocks.ravel())


def contradiction(other: str) -> str:
    """The reason for a frame that was also shown as `other`."""
    return f"also labelled {other}"


def looks_like(other: str) -> str:
    """The reason for a frame that is surely of another class than its label says."""
    return f"looks like {other}"


def mistaken(seen: np.ndarray, sure: np.ndarray, slot: int, config: IntakeConfig) -> np.ndarray:
    """Which (N,) of the frames labelled `slot` the solver is sure to show another class.

    `seen` (N,) is the class that it finds most likely of each, and `sure` (N,) its probability. None where it does not
    see that class in most of them: then they look new to it, and learning that is what an update is for.
    """
    if 2 * (seen == slot).sum() <= len(seen):
        return np.zeros(len(seen), bool)
    return np.asarray((seen != slot) & (sure > config.sure))


def _seen(image: np.ndarray) -> np.ndarray:
    """Grey levels (H, W), the shorter side at most SIDE, and AREA of them."""
    grey = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    share = min(SIDE / min(grey.shape), math.sqrt(AREA / grey.size))
    return grey if share >= 1 else resized_by(grey, share)


def _shrunk(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))

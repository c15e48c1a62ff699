"""Keeps frames in a home, in a thread of its own: a journal is its thread's alone, and no view waits for a disk."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from reverie.device_runtime.config import IntakeConfig
from reverie.device_runtime.errors import CameraError, ReverieError
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.frames.frame_files import Frame
from reverie.device_runtime.frames.frame_store import FrameStore
from reverie.device_runtime.frames.gate import Gate
from reverie.tools.views.snapshot import Kept, Moment

STORED_SIDE = 720
"""Kept frames have a shorter side of at most so many pixels."""
LOSSLESS_SIDE = 128
"""And up to so many, they are kept as PNG; larger ones as JPEG of quality 95."""
CLOSED = "the camera was let go of: start again"
_T = TypeVar("_T")


class Keeper:
    """The frames of one home, which it counts and adds to. Close it to let go of them."""

    def __init__(self, home: Path, quota: int, on_kept: Callable[[Kept], None]) -> None:
        """`on_kept` hears of each frame that was to be kept, in this thread.

        Raises HomeError, BusyError, StorageError.
        """
        self.counts: Counter[str] = Counter()
        """Frames to learn by label."""
        self.unfinished = False
        """Whether an update holds frames."""
        self.set_aside: Counter[str] = Counter()
        """Frames by label that were not kept."""
        self.last: Kept | None = None
        self.trouble = ""
        """Why the last frame could not be kept."""
        self._on_kept = on_kept
        self._opened = contextlib.ExitStack()
        self._thread = ThreadPoolExecutor(1, "keep")
        try:
            self._submit(self._open, home, quota).result()
        except BaseException:
            self.close()
            raise

    def keep(self, label: str, moment: Moment | None) -> Future[str | None]:
        """Keep `moment` as a frame of `label`; the result is the reason if it was set aside.

        The future raises CameraError if there is no frame, FramesError if there is no room, StorageError, BusyError.
        Raises CameraError once this is closed, as all do.
        """
        return self._submit(self._keep, label, moment)

    def count(self) -> Future[None]:
        """Count again: an update removes what it learnt. What is being kept is kept first."""
        return self._submit(self._count)

    def frames(self) -> list[Frame]:
        """All that are stored or were set aside."""
        return self._submit(self._frames.frames).result()

    def close(self) -> None:
        """Let go of the home; what is being kept is kept first."""
        with contextlib.suppress(RuntimeError):  # it is closed already
            self._thread.submit(self._opened.close)
        self._thread.shutdown()

    def _submit(self, does: Callable[..., _T], *arguments: Any) -> Future[_T]:
        try:
            return self._thread.submit(does, *arguments)
        except RuntimeError as error:
            raise CameraError(CLOSED) from error

    def _open(self, home: Path, quota: int) -> None:
        self._frames: FrameStore = self._opened.enter_context(frame_store.opened(home, quota))
        self._gate = Gate(self._frames, IntakeConfig())
        self._count()

    def _count(self) -> None:
        self.counts = Counter(frame.label for frame in self._frames.to_learn())
        self.unfinished = self._frames.being_learnt()

    def _keep(self, label: str, moment: Moment | None) -> str | None:
        try:
            if moment is None:
                raise CameraError("there is no frame yet: wait for the camera")
            reason = self._gate.offer(label, _encoded(moment.region), f"frame {moment.number}")
            self._count()
        except ReverieError as error:
            self.trouble = str(error)
            raise
        if reason is not None:
            self.set_aside[label] += 1
        self.last, self.trouble = Kept(label, reason, time.monotonic()), ""
        self._on_kept(self.last)
        return reason


def _encoded(image: np.ndarray) -> bytes:
    """As a PNG or JPEG file."""
    side = min(image.shape[:2])
    if side > STORED_SIDE:
        size = (round(image.shape[1] * STORED_SIDE / side), round(image.shape[0] * STORED_SIDE / side))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    how = (".png", []) if side <= LOSSLESS_SIDE else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95])
    return bytes(cv2.imencode(how[0], image, how[1])[1])

"""Where labelled frames come in, one at a time: each is checked, then stored or set aside with the reason."""

from __future__ import annotations

import contextlib

import numpy as np

from reverie.device_runtime.camera.images import decode_image
from reverie.device_runtime.config import IntakeConfig
from reverie.device_runtime.errors import FramesError, StorageError
from reverie.device_runtime.frames import intake
from reverie.device_runtime.frames.frame_store import FrameStore


class Gate:
    """Compares what comes in with the frames that are stored."""

    def __init__(self, store: FrameStore, config: IntakeConfig) -> None:
        self._store = store
        self._config = config
        self._earlier = self._none()
        self._known: set[int] = set()

    def offer(self, label: str, content: bytes, where: object) -> str | None:
        """Store the PNG or JPEG file `content` as a frame of `label`, or set it aside and return the reason.

        Raises FramesError if it is no image, or there is no room for it or for more of its label; BusyError,
        StorageError. Nothing is stored then.
        """
        image = decode_image(content, where)
        self._look_again()  # which may take a while the first time: nobody waits for it
        with self._store.changing():
            self._look_again()
            stored = sum(frame.label == label for frame in self._store.stored())
            if stored >= self._config.max_per_class:
                raise FramesError(
                    f"{label} has {stored} frames, the most there may be: run reverie update, or purge some"
                )
            seen = intake.look(image)
            reason = None
            if self._config.check:
                match = self._earlier.match(seen, label, self._config)
                reason = intake.flaw(image, self._config) or (match.reason if match else None)
            frame = self._store.add(label, content, reason, released=not self._config.check)
            if reason is None:
                with contextlib.suppress(StorageError):  # it is stored, and looked at again before the next one
                    self._earlier.add(frame.id, label, seen)
                    self._known.add(frame.id)
        return reason

    def _look_again(self) -> None:
        """Know the frames that are stored by now, whoever stored or removed them."""
        stored = self._store.stored()
        if self._known - {frame.id for frame in stored}:
            self._earlier, self._known = self._none(), set()
        for frame in stored:
            if frame.id not in self._known:
                with contextlib.suppress(FramesError):  # a damaged one is told when it is to be learnt
                    image = decode_image(self._store.content(frame), frame.file)
                    self._earlier.add(frame.id, frame.label, intake.look(image))
                self._known.add(frame.id)

    def _none(self) -> intake.Earlier:
        return intake.Earlier(self._store.scratch((intake.SIZE,), np.uint8))

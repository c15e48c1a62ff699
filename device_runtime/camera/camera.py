"""A camera, stream, video file or folder → always its newest frame, from a thread of its own.

A stream is read as fast as it comes, so that what is looked at never lags behind; frames that nobody took are gone.
A camera or stream that is lost is opened again, after longer and longer waits. A file or folder plays at its own rate;
or, `fast`, each frame as soon as the one before was taken, and none is left out.
"""

from __future__ import annotations

import atexit
import threading
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.camera.rate import Rate
from reverie.device_runtime.camera.video_source import VideoSource, Wanted, is_live, open_source
from reverie.device_runtime.errors import CameraError
from reverie.device_runtime.redaction import redact

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds before a lost camera is opened again: the first time, and at most after waits that double."""
PATIENCE = 60.0
"""Seconds after which a camera that was lost is given up by default."""


class Shot(NamedTuple):
    """One frame: uint8 (H, W, 3) in BGR order, its number from 1, and when it came, by time.monotonic()."""

    image: np.ndarray
    number: int
    at: float


@dataclass(frozen=True)
class CameraState:
    """How a camera does, `says` in words. `name` is opening, live, lost, ended or failed; `rate` in frames a second."""

    name: str
    says: str
    frames: int = 0
    rate: float = 0.0
    size: tuple[int, int] | None = None
    """Width and height of the newest frame."""


class Camera:
    """Holds the newest frame of one source, for one reader."""

    def __init__(
        self,
        name: str,
        wanted: Wanted = Wanted(),  # noqa: B008 (frozen)
        *,
        fast: bool = False,
        loop: bool = False,
        patience: float | None = PATIENCE,
    ) -> None:
        """`loop` plays a file or folder again and again. With `patience` None it is waited for without end.

        Otherwise a source that cannot be opened at first is an error. Raises CameraError.
        """
        self._name, self._wanted, self._fast, self._loop, self._patience = name, wanted, fast, loop, patience
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._shot: Shot | None = None
        self._rate = Rate()
        self._state = CameraState("opening", f"opening {redact(name)}")
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()
        atexit.register(self._leave)
        if patience is not None:
            self._wait_for_opening()

    @property
    def state(self) -> CameraState:
        """How it does now; one whose read does not come back is lost, whatever its thread waits for."""
        with self._changed:
            state = self._state
            silent = time.monotonic() - self._last
        if state.name == "live" and is_live(self._name) and silent > self._wanted.read_seconds:
            return replace(state, name="lost", says=f"no frame for {silent:.0f} s", rate=0.0)
        return replace(state, rate=self._rate.a_second if state.name == "live" else 0.0)

    def read(self, timeout: float = 1.0) -> Shot | None:
        """The newest frame, once; waits at most `timeout` seconds for one that was not read yet, else None.

        Raises CameraError once the source is given up.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._shot is not None or self.over, timeout)
            shot, self._shot = self._shot, None
            self._changed.notify_all()
            if shot is None and self._state.name == "failed":
                raise CameraError(self._state.says)
            return shot

    @property
    def over(self) -> bool:
        """Whether no frame will come any more: it ended, was given up or closed."""
        return self._stopped.is_set() or self._state.name in {"ended", "failed"}

    def close(self) -> None:
        """Stop reading. Nobody waits here for a read that does not come back, only Python does before it exits."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout=1.0)
        if not self._thread.is_alive():
            atexit.unregister(self._leave)

    def _leave(self) -> None:
        """Wait for the thread: one that comes back from OpenCV while Python is taken apart would abort the process."""
        self.close()
        self._thread.join(timeout=self._wanted.open_seconds + self._wanted.read_seconds)

    def _wait_for_opening(self) -> None:
        with self._changed:
            limit = self._wanted.open_seconds + self._wanted.read_seconds + 2
            self._changed.wait_for(lambda: self._state.name != "opening", limit)
            state = self._state
        if state.name in {"opening", "failed"}:
            self.close()
            raise CameraError(
                state.says
                if state.name == "failed"
                else f"{self._name} gives no picture within {limit:.0f} s: check that it is on"
            )

    def _run(self) -> None:
        """Open, read until nothing comes, and again."""
        wait = FIRST_WAIT
        live = is_live(self._name)
        while not self._stopped.is_set():
            before = self._state.frames
            try:
                source = open_source(self._name, self._wanted)
                try:
                    self._play(source)
                finally:
                    source.close()
                says = f"{self._name} gives no pictures{' any more' if live else ': give another'}"
            except CameraError as error:
                says = str(error)
            if self._stopped.is_set():
                return
            played = self._state.frames > before
            if not live and played:
                if self._loop:
                    continue
                self._set("ended", f"{self._name} has ended")
                return
            silent = time.monotonic() - self._last
            never = not self._state.frames
            if self._patience is not None and (never or silent > self._patience):
                self._set("failed", says if never else f"{says}, and did not come back within {silent:.0f} s")
                return
            wait = FIRST_WAIT if played else min(2 * wait, LONGEST_WAIT)
            self._set("lost", f"{says}; trying again")
            self._stopped.wait(wait)

    def _play(self, source: VideoSource) -> None:
        """Show frame after frame until none comes. Raises CameraError."""
        due = time.monotonic()
        while not self._stopped.is_set():
            image = source.read()
            if not source.live and self._fast:
                self._wait_until_taken()
            elif not source.live:
                self._stopped.wait(min(max(0.0, due - time.monotonic()), threading.TIMEOUT_MAX))
                due = max(due, time.monotonic() - 1) + 1 / source.rate
            if image is None or self._stopped.is_set():
                return
            self._show(image, "live" if source.live else "playing")

    def _show(self, image: np.ndarray, says: str) -> None:
        now = time.monotonic()
        with self._changed:
            number = self._state.frames + 1
            self._shot, self._last = Shot(image, number, now), now
            self._rate.count()
            self._state = CameraState("live", says, number, size=(image.shape[1], image.shape[0]))
            self._changed.notify_all()

    def _wait_until_taken(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._shot is None or self._stopped.is_set())

    def _set(self, name: str, says: str) -> None:
        with self._changed:
            self._state = replace(self._state, name=name, says=redact(says))
            self._rate.clear()
            self._changed.notify_all()

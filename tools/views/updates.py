"""The updates of a session, one at a time: begun by somebody, or whenever so many frames more are stored."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from reverie.device_runtime.errors import CameraError, ReverieError
from reverie.tools.views.background import BackgroundUpdate, UpdateState
from reverie.tools.views.keeper import CLOSED


class Updates:
    """The update that runs, or the last one until its result is settled."""

    def __init__(self, home: Path, options: Sequence[str], after: int | None) -> None:
        """`options` of the command; one begins by itself after so many stored frames."""
        self._home, self._options, self._after = home, tuple(options), after
        self._lock = threading.Lock()
        self._closed = False
        self._awaited = 0
        """Frames that must still come before another is begun by itself."""
        self.update: BackgroundUpdate | None = None
        self.trouble = ""
        """Why none could begin by itself."""

    @property
    def state(self) -> UpdateState | None:
        """How far it is, or how it ended."""
        update = self.update
        return None if update is None else update.state

    @property
    def running(self) -> bool:
        """Whether its end is still to come."""
        state = self.state
        return state is not None and state.outcome is None

    def start(self, *, insist: bool = False) -> None:
        """Learn the stored frames, and `insist` on labels that the last update held back, unless one runs already.

        Raises CameraError once this is closed and where there are none, HomeError, StorageError, UpdateError.
        """
        with self._lock:
            if self._closed:
                raise CameraError(CLOSED)
            held_back = self.state.held_back if insist and self.state is not None else ()
            if insist and not held_back:
                raise CameraError("no label was held back, so there is nothing to insist on")
            if not self.running:
                words = [word for label in held_back for word in ("--insist", label)]
                self.update = BackgroundUpdate(self._home, (*self._options, *words))

    def stored(self, waiting: int) -> None:
        """One more frame is stored, which makes `waiting`; begin if these are enough."""
        self._awaited -= 1
        if self._after is None or waiting < self._after or self._awaited > 0 or self.running:
            return
        self._awaited = self._after  # if it fails, the frames are still there
        try:
            self.start()
        except (ReverieError, OSError) as error:
            self.trouble = f"no update could be started: {error}"

    def stop(self) -> None:
        """Interrupt it, if one runs."""
        update = self.update
        if update is not None:
            update.stop()

    def dismiss(self) -> None:
        """Its result is settled."""
        with self._lock:
            if not self.running:
                self.update = None

    def close(self) -> None:
        """Begin none any more."""
        with self._lock:
            self._closed = True

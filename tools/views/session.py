"""Somebody at a camera: the newest frame, what the solver makes of it, the frames that are kept, the update they start.

Terminal, window and page show a `Snapshot` of it and call its methods. It runs in threads: one reads the camera, one
predicts, one keeps frames; none of them waits for another, and an update is a process of its own.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from reverie.device_runtime.bundle.labels import check_label
from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.camera.rate import Rate
from reverie.device_runtime.changes import transaction
from reverie.device_runtime.changes.purge import Scope, purge
from reverie.device_runtime.errors import CameraError, ReverieError, UpdateError, first_line
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.frames.frame_files import Frame
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.method.labelled import extend_classes
from reverie.device_runtime.serving.predictor import Predictor
from reverie.device_runtime.serving.rollback import end_probation, roll_back
from reverie.tools.region import Region, cut
from reverie.tools.views.keeper import Keeper
from reverie.tools.views.snapshot import Kept, Moment, Snapshot
from reverie.tools.views.updates import Updates

SURE = 0.8
"""Probability from which the solver's guess is suggested as the label."""
ASK_AGAIN = 3.0
"""Seconds after one unsure frame was asked about before the next is."""


class Session:
    """One camera and one home. Close it to let go of both; an update that runs is stopped, and can go on later."""

    def __init__(
        self,
        home: Path,
        camera: Camera,
        *,
        region: Region | None = None,
        label: str | None = None,
        count: int | None = None,
        every: float = 0.5,
        ask_below: float = 0.0,
        update_after: int | None = None,
        update_options: Sequence[str] = (),
        quota: int = frame_store.QUOTA,
        on_kept: Callable[[Kept], None] = lambda _kept: None,
    ) -> None:
        """Keeps a frame each `every` seconds while a label is held, each one with 0; asks about margins < `ask_below`.

        `label` is held from the first frame on, until `count` are stored.
        `update_after` so many stored frames an update begins. `on_kept` hears of each frame that was to be kept, in a
        thread of the session.
        Raises HomeError, BundleError, EngineError, FramesError, BusyError, StorageError.
        """
        self.home, self._region = home, region
        self._camera, self._every, self._ask_below = camera, every, ask_below
        self._on_kept = on_kept
        self._predictor = Predictor(home)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._moment: Moment | None = None
        self._asking: Moment | None = None
        self._asked_at = self._kept_at = 0.0
        self._keeping: Future[str | None] | None = None
        self._holding: str | None = None
        self._wanted: int | None = None
        self._until = math.inf
        self._named: list[str] = []
        self._blind = ""
        """Why the last frame could not be predicted."""
        self._rate = Rate()
        self._updates = Updates(home, update_options, update_after)
        self._keeper = Keeper(home, quota, self._was_kept)
        try:
            if label is not None:
                self.hold(label, count)
        except BaseException:
            self._keeper.close()
            raise
        self._thread = threading.Thread(target=self._look, name="predict", daemon=True)
        self._thread.start()

    @property
    def snapshot(self) -> Snapshot:
        """How it is now."""
        with self._lock:
            generation = self._predictor.generation
            labels = dict.fromkeys([*generation.classes, *self._keeper.counts, *self._named])
            moment = self._moment
            sure = moment is not None and moment.prediction.probability >= SURE
            return Snapshot(
                camera=self._camera.state,
                moment=moment,
                rate=self._rate.a_second,
                labels=tuple(labels),
                counts=dict(self._keeper.counts),
                set_aside=dict(self._keeper.set_aside),
                holding=self._holding,
                suggested=moment.prediction.label if moment is not None and sure else None,
                asking=self._asking,
                last=self._keeper.last,
                trouble=self._blind or self._keeper.trouble or self._updates.trouble,
                update=self._updates.state,
                unfinished=self._keeper.unfinished,
                generation=generation.name,
                region=self._region,
            )

    @property
    def moment(self) -> Moment | None:
        """The newest frame, for who asks for it again and again; `snapshot` has it too."""
        return self._moment

    @property
    def over(self) -> bool:
        """Whether no frame will come any more."""
        return not self._thread.is_alive()

    @property
    def done(self) -> bool:
        """Whether nothing more will come: no frame, and no end of an update."""
        return self.over and not self._updates.running

    def look_at(self, region: Region | None) -> None:
        """From now on look at that part of the frames. Raises FramesError if it lies outside of them."""
        moment = self._moment
        if moment is not None:
            cut(moment.image, region)
        self._region = region

    def frames(self) -> list[Frame]:
        """All that are stored or were set aside. Raises CameraError once the session is closed."""
        return self._keeper.frames()

    def name(self, label: str) -> None:
        """Make `label` one to choose. Raises FramesError if it cannot be one, or no class slot is left for it."""
        check_label(label)
        with self._lock:
            labels = tuple(dict.fromkeys([*self._keeper.counts, *self._named, label]))
            extend_classes(self._predictor.generation.classes, labels, self._predictor.slots)
            if label not in self._named:
                self._named.append(label)

    def keep(self, label: str, moment: Moment | None = None) -> Future[str | None]:
        """Keep `moment`, or the newest one, as a frame of `label`; the result is the reason if it was set aside.

        The future raises CameraError if there is no frame yet, FramesError if there is no room, StorageError,
        BusyError. Raises CameraError once the session is closed.
        """
        with self._lock:
            self._keeping = self._keeper.keep(label, moment or self._moment)
            return self._keeping

    def hold(self, label: str | None, count: int | None = None, seconds: float = math.inf) -> None:
        """From now on keep frames of `label`, until `count` of them are stored or `seconds` have gone; None ends that.

        Raises FramesError as `name` does.
        """
        if label is not None:
            self.name(label)
        with self._lock:
            self._holding, self._wanted, self._until = label, count, time.monotonic() + seconds

    def settle(self) -> None:
        """Wait until what is being kept is kept. Raises CameraError once the session is closed."""
        self._keeper.count().result()

    def answer(self, label: str | None) -> None:
        """What the unsure frame shows; None for nothing that is worth keeping."""
        with self._lock:
            asked, self._asking, self._asked_at = self._asking, None, time.monotonic()
        if asked is not None and label is not None:
            self.keep(label, asked)

    def start_update(self, *, insist: bool = False) -> None:
        """Learn the stored frames, and `insist` on what the last update held back, unless one runs already.

        Raises CameraError once the session is closed, and where there is nothing to insist on.
        """
        self._updates.start(insist=insist)

    def stop_update(self) -> None:
        """Interrupt the update, if one runs."""
        self._updates.stop()

    def accept(self, seen: str | None = None) -> None:
        """End the probation of the generation in service, which is the one that was `seen`.

        Raises BusyError, UpdateError, StorageError.
        """
        with transaction.changing(self.home) as journal, disk.storage_errors(self.home):
            self._require_in_service(seen)
            end_probation(self.home, journal, accepted=True)
        self._updates.dismiss()

    def roll_back(self, why: str, seen: str | None = None) -> None:
        """Go back to the generation before the one in service, which is the one that was `seen`.

        Raises HomeError, BundleError, UpdateError, StorageError.
        """
        with transaction.changing(self.home) as journal:
            self._require_in_service(seen)
            roll_back(self.home, journal, why=why)
        self._updates.dismiss()

    def _require_in_service(self, seen: str | None) -> None:
        serving = store.current(self.home)
        if seen not in {None, serving}:
            raise UpdateError(f"generation {serving} serves by now, and not {seen}: look at it first")

    def purge(self, label: str | None = None) -> None:
        """Forget the frames of `label`, or all. Raises BusyError, StorageError."""
        with transaction.changing(self.home) as journal:
            purge(self.home, journal, Scope(label))
        self.settle()

    def close(self) -> None:
        """Let go of camera and home; what is being kept is kept first."""
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
        self._updates.close()
        try:
            self._camera.close()
            self._thread.join(timeout=5.0)
            self._keeper.close()
        finally:  # also if somebody does not want to wait for that
            self._updates.stop()

    def _look(self) -> None:
        """Predict the newest frame again and again."""
        counted = time.monotonic()
        while not self._closed.is_set():
            over = self._camera.over
            try:
                shot = self._camera.read(0.2)
                now = time.monotonic()
                if now - counted > 1:
                    self._keeper.count()
                    counted = now
                if shot is None and over:
                    return
                if shot is None:
                    continue
                self._predictor.take_up()
                region = cut(shot.image, self._region)
                prediction = self._predictor.predict(region, "the frame")
                seconds = time.monotonic() - shot.at
                generation = self._predictor.generation.name
                self._blind = ""
                self._show(Moment(shot.number, shot.image, region, prediction, generation, seconds))
            except CameraError as error:
                if not self._closed.is_set():
                    self._blind = str(error)
                return
            except ReverieError as error:
                self._blind = str(error)
            except Exception as error:  # noqa: BLE001 (the next frame may be a better one)
                self._blind = f"a frame could not be predicted: {first_line(error)}"

    def _show(self, moment: Moment) -> None:
        now = time.monotonic()
        with self._lock:
            self._moment = moment
            self._rate.count()
            unsure = moment.prediction.margin < self._ask_below
            if unsure and self._asking is None and self._holding is None and now - self._asked_at > ASK_AGAIN:
                self._asking = moment
            keeping = None
            if now > self._until:
                self._holding = None
            busy = self._keeping is not None and not self._keeping.done()
            if self._holding is not None and not busy and now - self._kept_at >= self._every:
                self._kept_at = now
                keeping = self._keeping = self._keeper.keep(self._holding, moment)
        if keeping is not None and not self._every:  # each frame is to be kept: the next one waits
            keeping.exception()

    def _was_kept(self, kept: Kept) -> None:
        """In the keeper's thread. Are there as many frames as were wanted, or as an update wants?"""
        self._updates.trouble = ""
        if kept.reason is None:
            with self._lock:
                if self._wanted is not None and kept.label == self._holding:
                    self._wanted -= 1
                    if self._wanted <= 0:
                        self._holding = self._wanted = None
            self._updates.stored(self._keeper.counts.total())
        self._on_kept(kept)

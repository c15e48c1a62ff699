"""The labelled frames that a home keeps until they are learnt, and those that were set aside, each with its reason.

A file counts only if the journal names it: it is written, synced, then noted. So a cut loses no frame that was stored,
and what is not noted is collected. Frames come in while an update runs: they have a lock of their own, which is held
for one change at a time.

All files together take at most `quota` bytes. Frames that were set aside make room, oldest first; a stored frame never
does, and a new one is refused instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from reverie.device_runtime.bundle.labels import check_label
from reverie.device_runtime.errors import BusyError, FramesError
from reverie.device_runtime.frames.frame_files import Frame, read_file, write_file
from reverie.device_runtime.home import disk, sealing
from reverie.device_runtime.home.journal import Journal, now
from reverie.device_runtime.home.layout import FRAMES, FRAMES_LOCK, QUARANTINE, open_home
from reverie.device_runtime.home.row_files import Scratch

QUOTA = 500 << 20
"""Bytes that all frames of a home may take by default."""
SELECTED = (
    "SELECT frames.id, labels.label, file, sha256, size, added, reason, released, generation"
    " FROM frames JOIN labels ON labels.id = frames.label"
)
PATIENCE = 10.0
"""Seconds to wait for another command that changes the frames: longer than any change takes."""


class FrameStore:
    """The frames of one home, unchecked: `Gate` checks them."""

    def __init__(self, home: Path, journal: Journal, quota: int = QUOTA) -> None:
        self._home = home
        self._journal = journal
        self._quota = quota
        self._lock = FileLock(home / FRAMES_LOCK, timeout=PATIENCE, mode=0o600)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """The lock, for a change. Raises BusyError."""
        try:
            self._lock.acquire()
        except Timeout:
            raise BusyError(f"another command is changing the frames of {self._home}: wait until it is done") from None
        try:
            yield
        finally:
            self._lock.release()

    def add(self, label: str, content: bytes, reason: str | None = None, released: bool = False) -> Frame:
        """Keep the PNG or JPEG file `content`; what was set aside already is kept once.

        Raises FramesError if there is no room, StorageError; nothing is stored then.
        """
        check_label(label)
        digest = hashlib.sha256(content).hexdigest()
        with self.changing():
            same = [f for f in self.frames() if (f.label, f.sha256) == (label, digest) and f.reason and reason]
            if same:
                return same[0]
            label_id = self._label_id(label)
            file, size = self._write(label_id, content, reason)
            try:
                leaving = self._make_room(size)
            except FramesError:
                disk.remove(self._home / file)
                raise
            with self._journal.changes() as db:
                db.executemany("DELETE FROM frames WHERE id = ?", [(frame.id,) for frame in leaving])
                if leaving:
                    self._journal.note("made room", frames=_count(leaving))
                row = (label_id, file, digest, size, now(), reason, int(released))
                db.execute(
                    "INSERT INTO frames (label, file, sha256, size, added, reason, released)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
            self._remove(leaving)
            return self.frames()[-1]

    def frames(self) -> list[Frame]:
        """All frames, in the order in which they came."""
        return [Frame(*row) for row in self._journal.rows(f"{SELECTED} ORDER BY frames.id")]

    def frame(self, number: int) -> Frame:
        """The one that has `number`, which must be there."""
        [row] = self._journal.rows(f"{SELECTED} WHERE frames.id = ?", (number,))
        return Frame(*row)

    def stored(self) -> list[Frame]:
        """Those that were not set aside."""
        return [frame for frame in self.frames() if frame.reason is None]

    def to_learn(self) -> list[Frame]:
        """Those that the next update learns."""
        return [frame for frame in self.stored() if frame.generation is None]

    def numbers_to_learn(self) -> list[int]:
        """Their numbers alone, which take little memory."""
        query = "SELECT id FROM frames WHERE reason IS NULL AND generation IS NULL ORDER BY id"
        return [number for (number,) in self._journal.rows(query)]

    def being_learnt(self) -> bool:
        """Whether an update that has not ended learns some of them."""
        query = "SELECT 1 FROM frames JOIN updates USING (generation) WHERE reason IS NULL AND outcome IS NULL LIMIT 1"
        return bool(self._journal.rows(query))

    def quarantined(self) -> list[Frame]:
        """Those that were set aside."""
        return [frame for frame in self.frames() if frame.reason is not None]

    def numbers_set_aside(self) -> list[int]:
        """Their numbers alone."""
        return [number for (number,) in self._journal.rows("SELECT id FROM frames WHERE reason IS NOT NULL")]

    def scratch(self, shape: tuple[int, ...], dtype: type) -> Scratch:
        """Rows of `shape` on the disk of the home, while they are needed. Raises StorageError."""
        return Scratch(self._home, shape, dtype)

    def content(self, frame: Frame) -> bytes:
        """The image file that was stored. Raises FramesError if it is damaged, HomeError if the key is not there."""
        return read_file(self._home, frame)

    def knows(self, path: Path) -> bool:
        """Whether the file `path` is that of a frame."""
        file = path.relative_to(self._home).as_posix()
        return bool(self._journal.rows("SELECT 1 FROM frames WHERE file = ?", (file,)))

    def set_aside(self, frame: Frame, reason: str) -> None:
        """Move a stored frame to the quarantine. Raises StorageError."""
        self._move(frame, reason, released=False)

    def release(self, number: int) -> Frame:
        """Store a frame that was set aside; no check sets it aside again. Raises FramesError."""
        found = [frame for frame in self.quarantined() if frame.id == number]
        if not found:
            raise FramesError(f"there is no frame {number} in quarantine: see reverie frames --home {self._home}")
        self._move(found[0], None, released=True)
        return found[0]

    def note(self) -> None:
        """Put what came since the last time into the audit log: counts by label and by reason."""
        with self._journal.changes() as db:
            rows = db.execute(
                "SELECT labels.label, reason, count(*) FROM frames JOIN labels ON labels.id = frames.label"
                " WHERE noted = 0 GROUP BY 1, 2"
            ).fetchall()
            db.execute("UPDATE frames SET noted = 1 WHERE noted = 0")
            added = {label: count for label, reason, count in rows if reason is None}
            aside = [(label, reason, count) for label, reason, count in rows if reason is not None]
            if added:
                self._journal.note("frames added", labels=added)
            if aside:
                self._journal.note("frames set aside", reasons=[[*row] for row in aside])

    def _label_id(self, label: str) -> int:
        """What stands for `label` on the disk."""
        found = self._journal.rows("SELECT id FROM labels WHERE label = ?", (label,))
        if not found:
            with self._journal.changes() as db:
                db.execute("INSERT INTO labels (label) VALUES (?)", (label,))
            return self._label_id(label)
        return int(found[0][0])

    def _move(self, frame: Frame, reason: str | None, released: bool) -> None:
        with self.changing():
            [(label_id,)] = self._journal.rows("SELECT label FROM frames WHERE id = ?", (frame.id,))
            file, size = self._write(label_id, self.content(frame), reason)
            with self._journal.changes() as db:
                db.execute(
                    "UPDATE frames SET file = ?, size = ?, reason = ?, released = ?, generation = NULL, noted = 0"
                    " WHERE id = ?",
                    (file, size, reason, int(released), frame.id),
                )
            self._remove([frame])

    def _write(self, label_id: int, content: bytes, reason: str | None) -> tuple[str, int]:
        """Name in the home, and size, of a new file, which is synced and not yet known to the journal."""
        kind = FRAMES if reason is None else QUARANTINE
        key = sealing.writing_key(self._home, in_use=self._journal.holds_frames())
        return write_file(self._home, f"{kind}/{label_id}", content, key)

    def _make_room(self, size: int) -> list[Frame]:
        """The frames that go for one of `size` bytes, oldest first. Raises FramesError if none can."""
        frames = self.frames()
        over = sum(frame.size for frame in frames) + size - self._quota
        leaving = []
        for frame in frames:
            if over > 0 and frame.reason is not None:
                leaving.append(frame)
                over -= frame.size
        if over > 0:
            raise FramesError(
                f"the frames of {self._home} take {sum(f.size for f in frames) / 1e6:.1f} MB of "
                f"{self._quota / 1e6:.1f}: run reverie update, which learns and removes them, or reverie purge"
            )
        return leaving

    def _remove(self, frames: list[Frame]) -> None:
        with contextlib.suppress(OSError):  # what cannot be removed now is collected later
            for frame in frames:
                disk.remove(self._home / frame.file)


def counts(home: Path) -> dict[str, int]:
    """How many frames of `home` are to be learnt, are of an update, or were set aside. Raises StorageError."""
    found = {"to_learn": 0, "learnt": 0, "quarantined": 0}
    if (home / FRAMES_LOCK).exists():  # or none was ever added
        query = (
            "SELECT CASE WHEN reason NOTNULL THEN 'quarantined' WHEN generation NOTNULL THEN 'learnt' ELSE 'to_learn'"
            " END, count(*) FROM frames GROUP BY 1"
        )
        with closing(Journal(home)) as journal:
            found |= dict(journal.rows(query))
    return found


@contextmanager
def opened(home: Path, quota: int = QUOTA) -> Iterator[FrameStore]:
    """The frames of `home`; what cuts left behind is collected. Raises HomeError, BusyError, StorageError."""
    with closing(Journal(open_home(home))) as journal:
        store = FrameStore(home, journal, quota)
        with disk.storage_errors(home):
            collect(home, journal, store)
        try:
            yield store
        finally:
            store.note()


def collect(home: Path, journal: Journal, store: FrameStore) -> None:
    """Finish a purge that was cut off, and remove files that the journal does not name.

    Raises OSError, StorageError, BusyError.
    """
    with store.changing():
        promised = journal.rows("SELECT facts FROM purge")
        facts = json.loads(promised[0][0]) if promised else {}
        key = sealing.key_path(home)
        if facts.get("key") and key is not None:
            disk.destroy(key)
        for kind in (home / FRAMES, home / QUARANTINE):
            for folder in sorted(kind.glob("*")):
                with os.scandir(folder) as entries:
                    unknown = [entry.name for entry in entries if not store.knows(folder / entry.name)]
                for name in unknown:
                    disk.remove(folder / name)
                if not any(folder.iterdir()):
                    disk.remove(folder)
            if kind.exists():
                disk.sync_folder(kind)
        if promised:
            with journal.changes() as db:
                db.execute("DELETE FROM labels WHERE id NOT IN (SELECT label FROM frames)")
                db.execute("DELETE FROM purge")
                journal.note("purged", **facts)
        store.note()


def _count(frames: list[Frame]) -> dict[str, int]:
    """How many of each label."""
    labels = [frame.label for frame in frames]
    return {label: labels.count(label) for label in sorted(set(labels))}

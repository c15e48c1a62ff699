"""The journal of a home: the update in progress, how earlier ones ended, and the audit log of all that happened.

SQLite with a write-ahead log that is synced at every commit: what was committed is there after a power cut. (With a
rollback journal, the last commit can be lost.) At most one update is in progress. An update's `stage` and `step` are
those of its last checkpoint; `attempts` counts the attempts to get beyond it, the running one included.

Of each frame that is stored or set aside there is a row, which `frame_store` keeps; its `generation` is the one with
whose confirmation it goes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from reverie.device_runtime.bundle.manifest import FileRecord
from reverie.device_runtime.errors import StorageError, UpdateError
from reverie.device_runtime.home import audit, disk
from reverie.device_runtime.home.schema import SCHEMA

FILE = "journal.db"
IN_SERVICE = "in service"
"""Outcome of an update that made the generation that served then."""


@dataclass(frozen=True)
class Update:
    """One update: from which generation, to which, with what, how far it is, and how it ended.

    `frames` is the fingerprint of the labelled frames, `config` JSON, `version` that of Reverie. `outcome` is None
    while it is in progress, then IN_SERVICE, "rejected", "given up", "failed" or "dropped".
    """

    id: int
    parent: str
    generation: str
    frames: str
    config: str
    version: str
    begun: str
    stage: str
    step: int
    attempts: int
    ended: str | None
    outcome: str | None
    message: str | None

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries."""
        return dataclasses.asdict(self) | {"config": json.loads(self.config)}


class Journal:
    """The open journal of `home`; one command at a time changes it. Every method raises StorageError."""

    def __init__(self, home: Path) -> None:
        """Open it, or make it where there is none."""
        self._path = home / FILE
        with self._errors():
            new = not self._path.exists()
            if new:
                disk.announce("commit", self._path)
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600))
            disk.make_private(self._path)  # SQLite gives its other files the same mode
            self._db = sqlite3.connect(self._path, isolation_level=None)
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA secure_delete = ON")
                self._db.executescript(SCHEMA)
                if new:
                    disk.sync_folder(home)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close it; all that was committed stays."""
        self._db.close()

    def note(self, event: str, **facts: Any) -> None:
        """Add what happened to the audit log."""
        with self._transaction():
            self._note(event, **facts)

    def audit_log(self) -> list[audit.Entry]:
        """All that happened, oldest first; `audit.first_broken` says whether it was altered."""
        with self._errors():
            return [audit.Entry(*row) for row in self._db.execute("SELECT * FROM audit ORDER BY id")]

    def last_entry(self) -> audit.Entry | None:
        """What happened last, None where nothing is noted yet."""
        with self._errors():
            last = self._db.execute("SELECT * FROM audit ORDER BY id DESC LIMIT 1").fetchone()
        return audit.Entry(*last) if last else None

    def require_no_update(self, then: str) -> None:
        """Raise UpdateError, which says what to do first and `then`, while an update is in progress."""
        if self.in_progress() is not None:
            home = self._path.parent
            raise UpdateError(
                f"an update of {home} is in progress: finish it with reverie update --home {home}, "
                f"or drop it with --restart, {then}"
            )

    def in_progress(self) -> Update | None:
        """The update that has begun and not ended."""
        return next((update for update in self.updates() if update.outcome is None), None)

    def updates(self) -> list[Update]:
        """All updates, oldest first."""
        with self._errors():
            return [Update(*row) for row in self._db.execute("SELECT * FROM updates ORDER BY id")]

    @contextmanager
    def changes(self) -> Iterator[sqlite3.Connection]:
        """All that is executed and noted inside is committed together, or not at all."""
        with self._transaction():
            yield self._db

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """What `query` finds."""
        with self._errors():
            return self._db.execute(query, values).fetchall()

    def begin(
        self,
        parent: str,
        generation: str,
        frames: str,
        config: str,
        version: str,
        leaving: Iterable[int] = (),
        aside_before: Iterable[int] = (),
    ) -> None:
        """Note that an update begins; from here on it goes on after a cut.

        Once its result is in service, the stored frames `leaving` are not needed any more, nor those in `aside_before`,
        which had been set aside, unless somebody has released them meanwhile.
        """
        values = (parent, generation, frames, config, version, now())
        with self._transaction():
            self._db.execute(
                "INSERT INTO updates (parent, generation, frames, config, version, begun) VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            marked = "UPDATE frames SET generation = ? WHERE id = ?"
            self._db.executemany(marked, [(generation, at) for at in leaving])
            self._db.executemany(f"{marked} AND reason IS NOT NULL", [(generation, at) for at in aside_before])
            self._note("update begun", parent=parent, generation=generation, frames=frames)

    def attempt(self) -> None:
        """Count one more attempt, before it is made."""
        self._change("UPDATE updates SET attempts = attempts + 1 WHERE outcome IS NULL")

    def take_back_attempt(self) -> None:
        """The running attempt was stopped on purpose and does not count."""
        self._change("UPDATE updates SET attempts = max(attempts - 1, 0) WHERE outcome IS NULL")

    def end(self, outcome: str, message: str = "", **figures: Any) -> None:
        """Note how the update in progress ended, with what was measured; its checkpoints are no longer known."""
        with self._transaction():
            update = self.in_progress()
            if update is not None:
                self._note(f"update {outcome}", generation=update.generation, message=message, **figures)
            self._db.execute("DELETE FROM checkpoints")
            self._db.execute("DELETE FROM left_out")
            self._db.execute(
                "UPDATE updates SET outcome = ?, message = ?, ended = ? WHERE outcome IS NULL",
                (outcome, message, now()),
            )

    def checkpoint(self, stage: str) -> tuple[str, FileRecord] | None:
        """File and fingerprint of the last checkpoint of `stage`."""
        with self._errors():
            found = self._db.execute("SELECT file, sha256, size FROM checkpoints WHERE stage = ?", (stage,)).fetchone()
        return (found[0], FileRecord(found[1], found[2])) if found else None

    def checkpoint_files(self) -> dict[str, FileRecord]:
        """The files of all checkpoints, with their fingerprints."""
        with self._errors():
            found = self._db.execute("SELECT file, sha256, size FROM checkpoints")
            return {name: FileRecord(sha256, size) for name, sha256, size in found}

    def holds_frames(self) -> bool:
        """Whether there are frames, stored or set aside, or checkpoints: all that is sealed in an encrypted home."""
        with self._errors():
            query = "SELECT EXISTS (SELECT * FROM frames) OR EXISTS (SELECT * FROM checkpoints)"
            return bool(self._db.execute(query).fetchone()[0])

    def add_checkpoint(self, stage: str, step: int, file: str, record: FileRecord) -> None:
        """Note a checkpoint in place of the last one of `stage`; the running attempt got beyond that."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)",
                (stage, step, file, record.sha256, record.size),
            )
            self._db.execute(
                "UPDATE updates SET stage = ?, step = ?, attempts = 1 WHERE outcome IS NULL", (stage, step)
            )

    def forget_checkpoints(self) -> None:
        """No update is in progress: what one saved that was cut off before it had begun is no longer known."""
        if self.checkpoint_files():
            self._change("DELETE FROM checkpoints")

    def left_out(self) -> tuple[dict[str, str], float]:
        """The labels that the update in progress goes on without, each with the reason, and the seconds that went."""
        rows = self.rows("SELECT label, why, seconds FROM left_out ORDER BY label")
        return {label: why for label, why, _ in rows}, max((seconds for _, _, seconds in rows), default=0.0)

    def begin_anew(
        self, version: str, kept: tuple[str, ...], left_out: Mapping[str, str] | None = None, seconds: float = 0.0
    ) -> None:
        """All stages begin anew, in `version` of Reverie; the checkpoints `kept` stay.

        With labels `left_out` for the reasons there, on which so many `seconds` were spent, it goes on without them;
        their stored frames stay when the result is in service.
        """
        with self._transaction():
            update = self.in_progress()
            if update is not None and left_out:
                spent = seconds + self.left_out()[1]
                rows = [(label, why, spent) for label, why in left_out.items()]
                self._db.executemany("INSERT OR REPLACE INTO left_out VALUES (?, ?, ?)", rows)
                staying = (
                    "UPDATE frames SET generation = NULL WHERE reason IS NULL AND generation = ? AND label = "
                    "(SELECT id FROM labels WHERE label = ?)"
                )
                self._db.executemany(staying, [(update.generation, label) for label in left_out])
                self._db.execute("UPDATE updates SET attempts = 0 WHERE outcome IS NULL")
                self._note("update begun anew", generation=update.generation, message=f"without {', '.join(left_out)}")
            stages = self._db.execute("SELECT stage FROM checkpoints").fetchall()
            gone = [(stage,) for (stage,) in stages if stage not in kept]
            self._db.executemany("DELETE FROM checkpoints WHERE stage = ?", gone)
            self._db.execute("UPDATE updates SET stage = '', step = 0, version = ? WHERE outcome IS NULL", (version,))

    def _note(self, event: str, **facts: Any) -> None:
        entry = audit.entry_after(self.last_entry(), now(), event, facts)
        self._db.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", dataclasses.astuple(entry))

    def _change(self, statement: str, values: tuple[str, ...] = ()) -> None:
        with self._transaction():
            self._db.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        inside_another: bool = self._db.in_transaction
        if inside_another:
            yield
            return
        with self._errors():
            disk.announce("commit", self._path)
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with disk.storage_errors(self._path):
                yield
        except sqlite3.Error as error:
            raise StorageError(f"cannot use {self._path} ({error}); what was in service stays in service") from error


def now() -> str:
    """The time to note, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

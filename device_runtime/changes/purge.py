"""Forgetting frames: stored ones, those set aside, and an update in progress that holds them.

What goes is committed to the journal first. From then on the frames are unknown to every command, and a purge that is
cut off is finished by the next one that opens the home. What the weights of generations learnt is not undone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.changes.ending import is_decided
from reverie.device_runtime.errors import HomeError
from reverie.device_runtime.frames.frame_files import Frame
from reverie.device_runtime.frames.frame_store import FrameStore, collect
from reverie.device_runtime.home import disk, sealing
from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.home.journal import Journal, Update
from reverie.device_runtime.home.layout import UPDATE


@dataclass(frozen=True)
class Scope:
    """Which frames go: all, or those of one `label`, or those that came before a time, in UTC as the journal has it."""

    label: str | None = None
    before: str | None = None

    def holds(self, frame: Frame) -> bool:
        """Whether `frame` goes."""
        return self.label in {None, frame.label} and (self.before is None or frame.added < self.before)


def purge(home: Path, journal: Journal, scope: Scope) -> dict[str, Any]:
    """Remove the frames in `scope`, for the command that holds the home's lock; returns what went.

    Raises StorageError; to do it again then finishes it.
    """
    frames = FrameStore(home, journal)
    everything = scope == Scope()
    update = journal.in_progress()
    decided = update is not None and is_decided(home, update)
    drops = update is not None and not decided and _holds(home, journal, update, scope)
    if drops or decided:  # one that is decided only has to end
        transaction.drop(home, journal)
    with frames.changing():
        going = [frame for frame in frames.frames() if scope.holds(frame)]
        facts = {
            "scope": "all" if everything else {"label": scope.label, "before": scope.before},
            "stored": sum(frame.reason is None for frame in going),
            "quarantined": sum(frame.reason is not None for frame in going),
            "update": drops,
            "key": everything and sealing.key_path(home) is not None,
        }
        with journal.changes() as db:
            db.executemany("DELETE FROM frames WHERE id = ?", [(frame.id,) for frame in going])
            db.execute("DELETE FROM purge")
            db.execute("INSERT INTO purge VALUES (?)", (json.dumps(facts),))
        with disk.storage_errors(home):
            collect(home, journal, frames)
    return facts


def _holds(home: Path, journal: Journal, update: Update, scope: Scope) -> bool:
    """Whether the update in progress may hold frames in `scope`; what cannot be told counts as held."""
    if scope.before is not None:
        came_before = (f for f in FrameStore(home, journal).stored() if f.added <= update.begun)
        return update.begun < scope.before or any(map(scope.holds, came_before))
    if scope.label is None:
        return True
    try:
        stored = Checkpoints(home / UPDATE, journal).load("frames")
    except HomeError:  # its key is gone
        stored = None
    return stored is None or scope.label in stored["classes"].tolist()

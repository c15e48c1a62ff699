"""Back to another generation: because somebody says so, or because the one in service fails."""

from __future__ import annotations

import contextlib
from contextlib import closing
from pathlib import Path

from reverie.device_runtime.errors import BundleError, HomeError, ReverieError
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.frames.frame_store import FrameStore
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.journal import IN_SERVICE, Journal
from reverie.device_runtime.home.layout import FRAMES_LOCK, locked, open_home
from reverie.device_runtime.home.store import Generation
from reverie.device_runtime.serving import probation
from reverie.device_runtime.serving.probation import Standing


def roll_back(home: Path, journal: Journal, to: str | None = None, why: str = "") -> Generation:
    """Put generation `to`, by default the parent of the one in service, into service; its files are verified first.

    For the command that holds the lock. Noted in the audit log before it is done, so that no change is missing there.
    Raises HomeError if there is none such, BundleError if it is damaged, UpdateError while an update is in progress,
    StorageError; what was in service then still is.
    """
    journal.require_no_update("and then roll back")
    target = _roll_back(home, journal, to or store.read_generation(home).parent, why)
    if (home / FRAMES_LOCK).exists():
        with contextlib.suppress(ReverieError, OSError):  # or the next command does it
            settle_frames(home, journal)
    return target


def roll_back_failing(home: Path, why: str) -> None:
    """Leave the generation in service, if it failed too often, for its parent; where that can be done.

    An update in progress is no hindrance: it finds another generation in service and says so.
    """
    with contextlib.suppress(ReverieError, OSError), locked(open_home(home)), closing(Journal(home)) as journal:
        standing = probation.read(home, store.current(home))
        if standing is not None and standing.given_up:
            _roll_back(home, journal, standing.parent, f"it failed {standing.failed} times: {why}")


def confirm(home: Path) -> None:
    """End a probation that was passed: older generations may go. If that cannot be done, the next command does it."""
    with contextlib.suppress(ReverieError, OSError), locked(home, patience=0), closing(Journal(home)) as journal:
        end_probation(home, journal)


def end_probation(home: Path, journal: Journal, *, accepted: bool = False) -> None:
    """End a probation that was passed, or, `accepted`, because somebody says so, for the command that holds the lock.

    Older generations may go then, and the frames that were learnt. Raises StorageError, OSError.
    """
    standing = probation.read(home, store.current(home))
    if standing is None or not standing.on_probation:
        return
    if standing.confirmed or accepted:
        event = "confirmed" if standing.confirmed else "accepted"
        journal.note(event, generation=standing.generation, predictions=standing.passed)
        probation.begin(home, Standing(standing.generation, standing.parent, 0, standing.keep))
        store.retire(home, standing.keep)
        settle_frames(home, journal)


def settle_frames(home: Path, journal: Journal) -> None:
    """Stored frames go once a generation that learnt them is confirmed; where none that did serves, they are kept.

    For the command that holds the lock. Raises StorageError.
    """
    serving, update = store.current(home), journal.in_progress()
    proving, learnt = probation.is_on_probation(home, serving), _line_of(serving, journal)
    with journal.changes() as db:
        for (generation,) in journal.rows("SELECT DISTINCT generation FROM frames WHERE generation IS NOT NULL"):
            if update is not None and generation == update.generation:
                continue
            if generation not in learnt:
                db.execute("UPDATE frames SET generation = NULL WHERE generation = ?", (generation,))
            elif not proving:
                db.execute("DELETE FROM frames WHERE generation = ?", (generation,))
    frame_store.collect(home, journal, FrameStore(home, journal))


def _line_of(name: str, journal: Journal) -> set[str]:
    """Generation `name`, and those from which updates made it, one from the other: it has learnt what they did."""
    parents = {update.generation: update.parent for update in journal.updates() if update.outcome in {None, IN_SERVICE}}
    line = {name}
    while name in parents:
        name = parents[name]
        line.add(name)
    return line


def _roll_back(home: Path, journal: Journal, to: str | None, why: str) -> Generation:
    serving, there = store.current(home), store.generations(home)
    if to is None:
        raise HomeError(f"generation {serving} of {home} came with the bundle: there is none before it")
    if to not in there:
        found = ", ".join(name for name in there if name != serving) or "none"
        was = "was rejected" if to in store.rejected(home) else "is not there"
        raise HomeError(f"generation {to} {was}: choose one of those in {home} with --to ({found})")
    if to == serving:
        raise HomeError(f"generation {to} is in service already: choose another with --to")
    target = store.read_generation(home, to)
    try:
        store.load_models(home, target)
    except BundleError as error:
        raise BundleError(f"generation {to} cannot serve ({error}): choose another with --to") from error
    with disk.storage_errors(home):
        journal.note("rolled back", generation=serving, to=to, why=why)
        probation.begin(home, Standing(to, target.parent, 0, store.KEEP))
        store.put_in_service(home, to)
    with contextlib.suppress(OSError):  # or the next command does it
        probation.collect(home, to)
    return target

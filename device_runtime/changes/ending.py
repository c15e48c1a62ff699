"""How an update ends, noted once it is decided; and what a cut left behind is collected by the next command."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from reverie.device_runtime.changes import installation
from reverie.device_runtime.errors import BundleError, HomeError, RejectedError, StorageError
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.journal import IN_SERVICE, Journal, Update
from reverie.device_runtime.home.layout import FRAMES, QUARANTINE, UPDATE
from reverie.device_runtime.home.store import Generation
from reverie.device_runtime.method.report import summary
from reverie.device_runtime.serving import probation
from reverie.device_runtime.serving.rollback import end_probation, settle_frames


def is_decided(home: Path, update: Update) -> bool:
    """Whether what `update` made serves already or was rejected, and only its end is not noted yet."""
    return store.current(home) == update.generation or update.generation in store.rejected(home)


def finish(home: Path, journal: Journal, update: Update, keep: int) -> Generation:
    """What the update made is in service or rejected: its own files may go, and older generations once it is confirmed.

    Raises RejectedError.
    """
    try:
        report = store.read_report(home, update.generation) or {}
    except BundleError:
        report = {}
    if update.generation in store.rejected(home):
        reasons = "; ".join(report.get("promotion", {}).get("reasons", ["its report is damaged"]))
        _leave(home, journal, "rejected", reasons, keep, summary(report))
        raise RejectedError(
            f"generation {update.generation} was rejected and {update.parent} serves on in {home}: {reasons}"
        )
    try:
        generation = store.confirm(home)
    except (BundleError, HomeError):
        with disk.storage_errors(home):
            store.put_in_service(home, update.parent)
        raise
    retired_to = None if probation.is_on_probation(home, generation.name) else keep
    _leave(home, journal, IN_SERVICE, "", retired_to, summary(report))
    return generation


def end(home: Path, journal: Journal, outcome: str, message: str, figures: dict[str, Any] | None = None) -> None:
    """Note the outcome of the update in progress, and remove what it had stored. Raises StorageError."""
    with disk.storage_errors(home):
        update = journal.in_progress()
        if update is not None:
            store.discard(home, update.generation)
        journal.end(outcome, message, **(figures or {}))
        disk.remove(home / UPDATE)
        _collect_frames(home, journal)


def _leave(home: Path, journal: Journal, outcome: str, message: str, keep: int | None, figures: dict[str, Any]) -> None:
    """Note the end of an update whose generation is decided; what cannot be done now is done by the next change."""
    with contextlib.suppress(StorageError):
        if keep is not None:
            store.retire(home, keep)
        end(home, journal, outcome, message, figures)


def collect(home: Path, journal: Journal) -> None:
    """Remove what neither the pointer nor the journal names: it was left behind by a cut. Raises OSError."""
    for path in (*home.iterdir(), *(home / "generations").iterdir(), *(home / "bundles").iterdir()):
        if disk.is_leftover(path):
            disk.remove(path)
    installation.settle(home, journal)
    probation.collect(home, store.current(home))
    end_probation(home, journal)
    store.collect_bundles(home)
    disk.make_private(home)
    _collect_frames(home, journal)
    update = journal.in_progress()
    if update is None:
        disk.remove(home / UPDATE)
        journal.forget_checkpoints()
        return
    store.discard(home, update.generation)
    named = journal.checkpoint_files()
    for path in (home / UPDATE).glob("*"):
        if path.name not in named:
            disk.remove(path)


def _collect_frames(home: Path, journal: Journal) -> None:
    if any((home / name).exists() for name in (FRAMES, QUARANTINE)) or journal.rows("SELECT * FROM purge"):
        settle_frames(home, journal)

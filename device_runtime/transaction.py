"""An update of a home as one transaction: begun once, gone on with after every cut, whole or not there in the end.

`begin` stores the frames, as inputs, and the configuration in the home. From then on the update needs nothing from
outside: `go_on` runs all that is left of it, whether it was just begun or was cut off, and ends in the same weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from reverie.device_runtime import disk, store
from reverie.device_runtime.bundle import read_manifest
from reverie.device_runtime.checkpoints import Checkpoints
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import BundleError, BusyError, FramesError, StorageError, TrainingError, UpdateError
from reverie.device_runtime.frames import Frames, extend_classes
from reverie.device_runtime.home import UPDATE, locked, open_home
from reverie.device_runtime.journal import FILE, Journal, Update
from reverie.device_runtime.monitor import Listener, Monitor, StageRecord
from reverie.device_runtime.store import Generation
from reverie.device_runtime.update import run_update

ATTEMPTS = 3
"""Failed attempts at the same point after which an update is given up, so that a box never loops."""
KEEP = 3
"""Generations kept by default."""
RESERVE = "reserved"
REPORT_BYTES = 1 << 20
"""Room for the report and the record of a generation."""


@contextmanager
def changing(home: Path) -> Iterator[Journal]:
    """The lock and the journal of `home`, for the one command that changes it; what cuts left behind is collected.

    Raises HomeError, BusyError, StorageError.
    """
    with locked(open_home(home)), closing(Journal(home)) as journal:
        with disk.storage_errors(home):
            _collect(home, journal)
        yield journal


def begin(home: Path, journal: Journal, frames: Frames, config: UpdateConfig, reading: StageRecord) -> None:
    """Store `frames` and `config` as the update in progress; one of the same that was cut off stays as it is.

    `reading` is what it took to make inputs of the frames: the first stage, which is done before all others.
    Raises FramesError before anything is stored, UpdateError if another update was cut off, StorageError.
    """
    fingerprint = _fingerprint(frames)
    cut_off = journal.in_progress()
    if cut_off is not None:
        if (cut_off.frames, cut_off.config) == (fingerprint, config.to_json()):
            return
        if store.current(home) != cut_off.generation:
            raise UpdateError(
                f"an update with other frames or options was cut off in {home}: finish it with "
                f"reverie update --home {home}, or drop it with --restart"
            )
        _finish(home, journal, cut_off, KEEP)
    parent = store.read_generation(home)
    manifest = read_manifest(home / "bundles" / parent.bundle, parent.bundle)
    extend_classes(parent.classes, frames.classes, manifest.slots)
    synthesised = 4 * config.synthesis.count * int(np.prod(manifest.input_shape))
    states = 6 * _generation_bytes(parent)  # weights and two moments, of what is being trained and was before
    store.require_space(home, _generation_bytes(parent) + states + frames.inputs.nbytes + synthesised)
    try:
        with disk.storage_errors(home):
            disk.make_folder(home / UPDATE)
            disk.sync_folder(home)
        arrays = {"inputs": frames.inputs, "labels": frames.labels, "classes": np.array(frames.classes)}
        Checkpoints(home / UPDATE, journal).save("frames", 0, arrays | reading.to_state(spent=reading.seconds))
        journal.begin(parent.name, store.next_generation(home), fingerprint, config.to_json(), _version())
    except StorageError:
        with contextlib.suppress(OSError):
            disk.remove(home / UPDATE)
        raise


def go_on(
    home: Path, journal: Journal, listener: Listener | None = None, save_seconds: float = 30.0, keep: int = KEEP
) -> Generation:
    """Run what is left of the update in progress and put its result into service; `keep` generations stay.

    Raises UpdateError if it cannot go on and was given up; TrainingError or FramesError if it failed, as it would
    again; StorageError and all else leave an update that can go on.
    """
    update = journal.in_progress()
    if update is None:
        raise UpdateError(f"{home} has no update in progress: begin one with --frames")
    if store.current(home) == update.generation:  # cut off between the pointer and the journal
        return _finish(home, journal, update, keep)
    config = _open(home, journal, update)
    monitor = Monitor(listener, config.max_minutes, Checkpoints(home / UPDATE, journal), save_seconds)
    frames = _stored_frames(home, journal, monitor)
    parent = store.read_generation(home)
    reserved = home / UPDATE / RESERVE
    with disk.storage_errors(home):
        disk.reserve(reserved, _generation_bytes(parent))
    journal.attempt()
    try:
        models = store.load_models(home, parent)
        updated = run_update(models, frames, config, monitor)
        with disk.storage_errors(home):
            disk.remove(reserved)
        store.add_generation(home, parent, updated.models, updated.report.to_json())
    except (TrainingError, FramesError) as error:
        _end(home, journal, "failed", str(error))
        raise
    except KeyboardInterrupt:
        journal.take_back_attempt()
        raise
    return _finish(home, journal, update, keep)


def drop(home: Path, journal: Journal) -> None:
    """End the update in progress, if there is one, without a result unless that serves already. Raises StorageError."""
    update = journal.in_progress()
    if update is None:
        return
    if store.current(home) == update.generation:
        _finish(home, journal, update, KEEP)
    else:
        _end(home, journal, "dropped", "")


def look(home: Path) -> tuple[list[Update], bool]:
    """All updates of `home`, oldest first, and whether a command is changing it now. Raises HomeError."""
    if not (open_home(home) / FILE).exists():
        return [], False
    with closing(Journal(home)) as journal:
        updates = journal.updates()
    try:
        with locked(home, patience=0):
            return updates, False
    except BusyError:
        return updates, True


def _open(home: Path, journal: Journal, update: Update) -> UpdateConfig:
    """The configuration of the update in progress, once that may go on. Raises UpdateError."""
    serving = store.current(home)
    if serving != update.parent:
        raise UpdateError(
            f"the update in progress began from generation {update.parent} but {serving} is in service: "
            f"drop it with reverie update --home {home} --restart"
        )
    where = f"in {update.stage} after step {update.step}" if update.stage else "at its start"
    if update.attempts >= ATTEMPTS:
        raise _give_up(home, journal, f"it failed {update.attempts} times {where}")
    if update.version != _version():
        journal.begin_anew(_version(), kept="frames")  # another version may save and compute other states
    try:
        return UpdateConfig.from_json(update.config)
    except (ValueError, TypeError):
        raise _give_up(home, journal, "another version of Reverie began it") from None


def _stored_frames(home: Path, journal: Journal, monitor: Monitor) -> Frames:
    """The frames that `begin` stored. Raises UpdateError."""
    with monitor.stage("frames"):
        stored = monitor.resume()
    if stored is None:
        raise _give_up(home, journal, "its stored frames are damaged")
    return Frames(stored["inputs"], stored["labels"], tuple(stored["classes"].tolist()))


def _give_up(home: Path, journal: Journal, reason: str) -> UpdateError:
    _end(home, journal, "given up", reason)
    return UpdateError(f"the update of {home} is given up because {reason}; what was in service stays in service")


def _finish(home: Path, journal: Journal, update: Update, keep: int) -> Generation:
    """The new generation is in service: once that is confirmed, older ones and the update's own files may go."""
    try:
        generation = store.confirm(home)
    except BundleError:
        with disk.storage_errors(home):
            store.put_in_service(home, update.parent)
        raise
    with contextlib.suppress(StorageError):  # what cannot be written or removed now goes with the next change
        store.retire(home, keep)
        _end(home, journal, "in service", "")
    return generation


def _end(home: Path, journal: Journal, outcome: str, message: str) -> None:
    with disk.storage_errors(home):
        update = journal.in_progress()
        if update is not None:
            store.discard(home, update.generation)
        journal.end(outcome, message)
        disk.remove(home / UPDATE)


def _collect(home: Path, journal: Journal) -> None:
    """Remove what neither the pointer nor the journal names: it was left behind by a cut. Raises OSError."""
    for path in (*home.iterdir(), *(home / "generations").iterdir(), *(home / "bundles").iterdir()):
        if disk.is_leftover(path):
            disk.remove(path)
    store.settle_installation(home, journal)
    store.collect_bundles(home)
    update = journal.in_progress()
    if update is None:
        disk.remove(home / UPDATE)
        return
    store.discard(home, update.generation)
    for path in (home / UPDATE).glob("*"):
        if path.name not in journal.checkpoint_files():
            disk.remove(path)


def _generation_bytes(generation: Generation) -> int:
    return sum(record.size for record in generation.files.values()) + REPORT_BYTES


def _fingerprint(frames: Frames) -> str:
    """SHA-256 of the frames themselves, however they are stored."""
    digest = hashlib.sha256("\n".join(frames.classes).encode())
    for array in (frames.labels, frames.inputs):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _version() -> str:
    return importlib.metadata.version("reverie")

"""An update of a home as one transaction: begun once, gone on with after every cut, whole or not there in the end.

`begin` stores the frames, as inputs, and the configuration in the home. From then on the update needs nothing from
outside: `go_on` runs all that is left of it, whether it was just begun or was cut off, and ends in the same weights. If
labels were not learnt and others were, it runs once more without them.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.changes.ending import collect, end, finish, is_decided
from reverie.device_runtime.changes.judging import add_judged
from reverie.device_runtime.changes.update_frames import FRAMES, INPUTS, go_on_without, load_frames, store_frames
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.errors import (
    BusyError,
    FramesError,
    HomeError,
    RejectedError,
    StorageError,
    TrainingError,
    UpdateError,
)
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.audit import Entry
from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.home.journal import FILE, Journal, Update
from reverie.device_runtime.home.layout import UPDATE, locked, open_home
from reverie.device_runtime.home.store import KEEP, Generation
from reverie.device_runtime.method.labelled import Frames, extend_classes
from reverie.device_runtime.method.models import require_trainable
from reverie.device_runtime.method.monitor import Listener, Monitor, StageRecord
from reverie.device_runtime.method.rows import in_chunks
from reverie.device_runtime.method.update import run_update
from reverie.device_runtime.promotion.decision import decide
from reverie.device_runtime.promotion.evaluation import evaluate

ATTEMPTS = 3
"""Failed attempts at the same point after which an update is given up, so that a box never loops."""
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
            collect(home, journal)
        yield journal


def begin(
    home: Path,
    journal: Journal,
    frames: Frames,
    config: UpdateConfig,
    reading: StageRecord,
    set_aside: Mapping[str, Any] | None = None,
    leaving: Iterable[int] = (),
    aside_before: Iterable[int] = (),
) -> None:
    """Store `frames` and `config` as the update in progress; one of the same that was cut off stays as it is.

    `reading` is what it took to make inputs of the frames: the first stage, which is done before all others.
    `set_aside` tells in the report which frames were not taken; the stored ones in `leaving` go with its success, and
    so do those in `aside_before`, which had been set aside. Raises FramesError before anything is stored, UpdateError
    if another update was cut off, StorageError.
    """
    fingerprint = _fingerprint(frames)
    cut_off = journal.in_progress()
    if cut_off is not None:
        if (cut_off.frames, cut_off.config) == (fingerprint, config.to_json()):
            return
        if not is_decided(home, cut_off):
            raise UpdateError(
                f"an update with other frames or options was cut off in {home}: finish it with "
                f"reverie update --home {home}, or drop it with --restart"
            )
        with contextlib.suppress(RejectedError):
            finish(home, journal, cut_off, KEEP)
    parent = store.read_generation(home)
    manifest = read_manifest(home / "bundles" / parent.bundle, parent.bundle)
    extend_classes(parent.classes, frames.classes, manifest.slots)
    synthesised = 4 * config.synthesis.count * int(np.prod(manifest.input_shape))
    states = 6 * _generation_bytes(parent)  # weights and two moments, of what is being trained and was before
    store.require_space(home, _generation_bytes(parent) + states + 4 * math.prod(frames.inputs.shape) + synthesised)
    try:
        with disk.storage_errors(home):
            disk.make_folder(home / UPDATE)
            disk.sync_folder(home)
        store_frames(Checkpoints(home / UPDATE, journal), frames, reading, set_aside)
        name = store.next_generation(home)
        journal.begin(parent.name, name, fingerprint, config.to_json(), _version(), leaving, aside_before)
    except (StorageError, HomeError):
        with contextlib.suppress(OSError, StorageError):
            disk.remove(home / UPDATE)
            journal.forget_checkpoints()
        raise


def go_on(
    home: Path, journal: Journal, listener: Listener | None = None, save_seconds: float = 30.0, keep: int = KEEP
) -> Generation:
    """Run what is left of the update in progress and put its result into service; `keep` generations stay.

    Raises RejectedError if it is not fit to serve; UpdateError if it cannot go on and was given up; TrainingError or
    FramesError if it failed, as it would again; StorageError and all else leave an update that can go on.
    """
    update = journal.in_progress()
    if update is None:
        raise UpdateError(f"{home} has no update in progress: begin one with --frames, or reverie add frames first")
    if is_decided(home, update):  # cut off between that and the journal
        return finish(home, journal, update, keep)
    config = _open(home, journal, update)
    checkpoints = Checkpoints(home / UPDATE, journal)
    monitor = Monitor(listener, config.max_minutes, checkpoints, save_seconds)
    frames = load_frames(checkpoints, journal, monitor)
    if frames is None:
        raise _give_up(home, journal, "its stored frames are damaged")
    parent = store.read_generation(home)
    reserved = home / UPDATE / RESERVE
    with disk.storage_errors(home):
        disk.reserve(reserved, _generation_bytes(parent))
    journal.attempt()
    try:
        models = store.load_models(home, parent)
        updated = run_update(models, frames.learnt, config, monitor)
        figures = evaluate(models, updated.models, updated.compared)
        decision = decide(figures, config.promotion, models.manifest.rehearsal)
        new = set(frames.learnt.classes) - set(models.classes)
        left_out = {} if monitor.is_past_half() else decision.to_leave_out(new)
        if left_out:
            go_on_without(journal, monitor, left_out, _version())
        else:
            with disk.storage_errors(home):
                disk.remove(reserved)
            on_probation = config.promotion.probation
            add_judged(home, parent, models, updated, decision, on_probation, keep, frames.told())
    except (TrainingError, FramesError) as error:
        end(home, journal, "failed", str(error))
        raise
    except KeyboardInterrupt:
        journal.take_back_attempt()
        raise
    if left_out:
        del models, updated  # which would stay in memory
        return go_on(home, journal, listener, save_seconds, keep)
    return finish(home, journal, update, keep)


def drop(home: Path, journal: Journal) -> None:
    """End the update in progress, if there is one, without a result unless that serves already. Raises StorageError."""
    update = journal.in_progress()
    if update is None:
        return
    if is_decided(home, update):
        with contextlib.suppress(RejectedError):
            finish(home, journal, update, KEEP)
    else:
        end(home, journal, "dropped", "")


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


def audit_log(home: Path) -> list[Entry]:
    """All that happened to `home`, oldest first. Raises HomeError."""
    if not (open_home(home) / FILE).exists():
        return []
    with closing(Journal(home)) as journal:
        return journal.audit_log()


def _open(home: Path, journal: Journal, update: Update) -> UpdateConfig:
    """The configuration of the update in progress, once that may go on. Raises UpdateError, EngineError."""
    serving = store.current(home)
    if serving != update.parent:
        raise UpdateError(
            f"the update in progress began from generation {update.parent} but {serving} is in service: "
            f"drop it with reverie update --home {home} --restart"
        )
    bundle = store.read_generation(home).bundle
    require_trainable(read_manifest(home / "bundles" / bundle, bundle))
    where = f"in {update.stage} after step {update.step}" if update.stage else "at its start"
    if update.attempts >= ATTEMPTS:
        raise _give_up(home, journal, f"it failed {update.attempts} times {where}")
    if update.version != _version():
        journal.begin_anew(_version(), kept=(FRAMES, INPUTS))  # another version may save and compute other states
    try:
        return UpdateConfig.from_json(update.config)
    except (ValueError, TypeError):
        raise _give_up(home, journal, "another version of Reverie began it") from None


def _give_up(home: Path, journal: Journal, reason: str) -> UpdateError:
    end(home, journal, "given up", reason)
    return UpdateError(f"the update of {home} is given up because {reason}; what was in service stays in service")


def _generation_bytes(generation: Generation) -> int:
    return sum(record.size for record in generation.files.values()) + REPORT_BYTES


def _fingerprint(frames: Frames) -> str:
    """SHA-256 of the frames themselves, however they are stored."""
    digest = hashlib.sha256("\n".join(frames.classes).encode())
    digest.update(np.ascontiguousarray(frames.labels).data)
    for part in in_chunks(frames.inputs):
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _version() -> str:
    return f"{importlib.metadata.version('reverie')} on {installed_engine()}"

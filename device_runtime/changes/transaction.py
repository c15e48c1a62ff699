"""An update of a home as one transaction: begun once, gone on with after every cut, whole or not there in the end.

`begin` stores the frames, as inputs, and the configuration in the home. From then on the update needs nothing from
outside: `go_on` runs all that is left of it, whether it was just begun or was cut off, and ends in the same weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.changes.ending import collect, end, finish, is_decided
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
from reverie.device_runtime.home import disk, pictures, store
from reverie.device_runtime.home.audit import Entry
from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.home.journal import FILE, Journal, Update
from reverie.device_runtime.home.layout import UPDATE, locked, open_home
from reverie.device_runtime.home.store import KEEP, Generation, Judgement
from reverie.device_runtime.method.labelled import Frames, extend_classes
from reverie.device_runtime.method.models import Models, require_trainable
from reverie.device_runtime.method.monitor import Listener, Monitor, StageRecord
from reverie.device_runtime.method.rows import Rows, in_chunks
from reverie.device_runtime.method.update import Updated, run_update
from reverie.device_runtime.promotion.decision import decide
from reverie.device_runtime.promotion.evaluation import evaluate
from reverie.device_runtime.promotion.fresh_process import wrong_answers
from reverie.device_runtime.serving import probation
from reverie.device_runtime.serving.probation import Standing

ATTEMPTS = 3
"""Failed attempts at the same point after which an update is given up, so that a box never loops."""
INPUTS = "inputs"
"""What the inputs are kept as, beside the checkpoint of the stage "frames", which has all else of the frames."""
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
        checkpoints = Checkpoints(home / UPDATE, journal)
        checkpoints.save_rows(INPUTS, frames.inputs)
        arrays = {"shape": np.array(frames.inputs.shape), "labels": frames.labels, "classes": np.array(frames.classes)}
        arrays["set_aside"] = np.array(json.dumps(set_aside or {}))
        checkpoints.save("frames", 0, arrays | reading.to_state(spent=reading.seconds))
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
    frames, set_aside = _stored_frames(home, journal, checkpoints, monitor)
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
        _add_judged(home, parent, models, updated, config, keep, set_aside)
    except (TrainingError, FramesError) as error:
        end(home, journal, "failed", str(error))
        raise
    except KeyboardInterrupt:
        journal.take_back_attempt()
        raise
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
        journal.begin_anew(_version(), kept=("frames", INPUTS))  # another version may save and compute other states
    try:
        return UpdateConfig.from_json(update.config)
    except (ValueError, TypeError):
        raise _give_up(home, journal, "another version of Reverie began it") from None


def _stored_frames(
    home: Path, journal: Journal, checkpoints: Checkpoints, monitor: Monitor
) -> tuple[Frames, dict[str, Any]]:
    """The frames that `begin` stored, and what was set aside then. Raises UpdateError."""
    inputs: Rows | None = None
    with monitor.stage("frames"):
        stored = monitor.resume()
        if stored is not None and "inputs" in stored:  # of an update that an older version began
            inputs = stored["inputs"]
        elif stored is not None:
            inputs = checkpoints.load_rows(INPUTS, tuple(stored["shape"].tolist()))
    if stored is None or inputs is None:
        raise _give_up(home, journal, "its stored frames are damaged")
    set_aside = json.loads(str(stored["set_aside"])) if "set_aside" in stored else {}
    return Frames(inputs, stored["labels"], tuple(stored["classes"].tolist())), set_aside


def _give_up(home: Path, journal: Journal, reason: str) -> UpdateError:
    end(home, journal, "given up", reason)
    return UpdateError(f"the update of {home} is given up because {reason}; what was in service stays in service")


def _add_judged(
    home: Path,
    parent: Generation,
    previous: Models,
    updated: Updated,
    config: UpdateConfig,
    keep: int,
    set_aside: Mapping[str, Any],
) -> None:
    """Write what the update made, and let it serve if it is fit to; with the previous generator if that alone is not.

    Raises EngineError, StorageError.
    """
    decision = decide(evaluate(previous, updated.models, updated.compared), config.promotion)
    models = updated.models
    if decision.promoted and not decision.generator_promoted:
        learnt = previous.with_classes(models.classes).learnt
        models = models.with_generative(previous.generator, previous.discriminator, learnt)
    synthesised = [models.classes[slot] for slot in np.unique(updated.references)]
    report = updated.report.to_json() | {"set_aside": set_aside, "synthesised": synthesised}

    def judge(generation: Generation) -> Judgement:
        judged = decision.with_answers(wrong_answers(home, generation, models))
        if judged.promoted:
            probation.begin(home, Standing(generation.name, parent.name, config.promotion.probation, keep))
        return Judgement(judged.promoted, report | {"promotion": judged.to_json()})

    store.add_generation(home, parent, models, judge, _pictures(updated))


def _pictures(updated: Updated) -> dict[str, bytes]:
    """Of the synthesised inputs, where they are pictures."""
    if updated.models.manifest.backbone is not None or not len(updated.synthesised):
        return {}
    how = updated.models.manifest.preprocessing
    return {pictures.SYNTHESISED: pictures.picture_of_inputs(updated.synthesised, updated.references, how)}


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

"""The states that the stages of an update saved, from which it goes on after a cut; sealed in an encrypted home."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import BinaryIO

import numpy as np

from reverie.device_runtime import disk, sealing
from reverie.device_runtime.bundle import FileRecord
from reverie.device_runtime.journal import Journal
from reverie.device_runtime.monitor import State

CHUNK = 1 << 20


class Checkpoints:
    """One state for each stage: a file of arrays in `folder`, which counts only if `journal` has its hash."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal

    def load(self, stage: str) -> State | None:
        """What `stage` saved last; None, so that it begins anew, if there is nothing or not what was written.

        Raises HomeError if the key that it was sealed with is not there.
        """
        known = self._journal.checkpoint(stage)
        if known is None:
            return None
        name, record = known
        try:
            with (self._folder / name).open("rb") as file:
                if _fingerprint(file) != record:
                    return None
                with np.load(self._opened(file, name), allow_pickle=False) as arrays:
                    return dict(arrays)
        except OSError:
            return None

    def save(self, stage: str, step: int, state: State) -> None:
        """Write `state` beside the last one, which is removed when this one is safe. Raises StorageError."""
        name = f"{stage.replace(' ', '-')}-{step}.npz"
        last = self._journal.checkpoint(stage)
        key = sealing.writing_key(self._folder.parent, in_use=self._journal.holds_frames())
        with disk.storage_errors(self._folder / name):
            record = sealing.write(
                self._folder / name,
                key,
                self._name(name),
                lambda file: np.savez(file, **state),  # type: ignore[arg-type]
            )
            disk.sync_folder(self._folder)
        self._journal.add_checkpoint(stage, step, name, record)
        if last is not None and last[0] != name:
            with disk.storage_errors(self._folder):
                disk.remove(self._folder / last[0])

    def _opened(self, file: BinaryIO, name: str) -> BinaryIO:
        key = sealing.reading_key(self._folder.parent)
        return file if key is None else io.BytesIO(sealing.unseal(file.read(), key, self._name(name)))

    def _name(self, name: str) -> str:
        return f"{self._folder.name}/{name}"


def _fingerprint(file: BinaryIO) -> FileRecord:
    """SHA-256 and size of an open file, which is then at its beginning again."""
    digest = hashlib.sha256()
    size = 0
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    file.seek(0)
    return FileRecord(digest.hexdigest(), size)

"""The states that the stages of an update saved, from which it goes on after a cut, and the inputs that it learns.

All are sealed in an encrypted home; the inputs row by row, so that they are read as they are needed.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from reverie.device_runtime.bundle.manifest import FileRecord
from reverie.device_runtime.errors import HomeError
from reverie.device_runtime.home import disk, sealing
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.home.row_files import RowFile
from reverie.device_runtime.method.monitor import State
from reverie.device_runtime.method.rows import Rows, in_chunks

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
        self._write(stage, step, name, lambda file: np.savez(file, **state))  # type: ignore[arg-type]

    def save_rows(self, stage: str, rows: Rows) -> None:
        """Write `rows` (N, *S) of float32 as what `stage` keeps. Raises StorageError."""
        self._write(
            stage,
            0,
            f"{stage}-0.rows",
            lambda file: [file.write(np.ascontiguousarray(part, np.float32).data) for part in in_chunks(rows)],
            chunk=4 * math.prod(rows.shape[1:]),
        )

    def load_rows(self, stage: str, shape: tuple[int, ...]) -> Rows | None:
        """The rows of `shape` (N, *S) that `save_rows` kept; None if they were damaged. Raises HomeError."""
        known = self._journal.checkpoint(stage)
        if known is None:
            return None
        name, record = known
        path = self._folder / name
        key = sealing.reading_key(self._folder.parent)
        try:
            file = path.open("rb")
            if _fingerprint(file) != record:
                file.close()
                return None
        except OSError:
            return None
        if key is None:
            return RowFile(file, path, shape, np.float32)
        chunks = sealing.Chunks(key, file.read(sealing.HEAD)[-sealing.SALT :], self._name(name))
        return RowFile(
            file,
            path,
            shape,
            np.float32,
            lambda number, content: chunks.unseal(number, number == shape[0] - 1, content),
            sealing.HEAD,
        )

    def require_whole(self) -> None:
        """Raise HomeError naming the first file of an update in progress that is not what was saved."""
        for name, record in self._journal.checkpoint_files().items():
            try:
                with (self._folder / name).open("rb") as file:
                    whole = _fingerprint(file) == record
            except OSError:
                whole = False
            if not whole:
                raise HomeError(f"{self._folder / name} was altered: check the disk, and go on with reverie update")

    def _write(
        self, stage: str, step: int, name: str, fill: Callable[[BinaryIO], object], chunk: int | None = None
    ) -> None:
        """One file in place of the last one of `stage`."""
        last = self._journal.checkpoint(stage)
        key = sealing.writing_key(self._folder.parent, in_use=self._journal.holds_frames())
        with disk.storage_errors(self._folder / name):
            record = sealing.write(self._folder / name, key, self._name(name), fill, chunk)
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

"""Rows in a file, read as they are asked for: memory does not grow with their number.

They are read by system calls and not mapped, since mapped pages count as the process's own. Where a home is encrypted,
each row is sealed by itself.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from reverie.device_runtime.errors import StorageError
from reverie.device_runtime.home import disk, sealing


class RowFile:
    """Rows (N, *S) of `dtype` one after another in an open file, which is closed when nobody uses them any more."""

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        shape: tuple[int, ...],
        dtype: type,
        unseal: Callable[[int, bytes], bytes] | None = None,
        head: int = 0,
    ) -> None:
        """The first of `shape` (N, *S) lies `head` bytes after the beginning; `unseal` opens a row, given its number.

        `path` is what errors name.
        """
        self._descriptor = file.fileno()
        weakref.finalize(self, file.close)
        self._path = path
        self._count, self._shape = shape[0], shape[1:]
        self._dtype = np.dtype(dtype)
        self._size = math.prod(self._shape) * self._dtype.itemsize
        self._stored = self._size + (0 if unseal is None else sealing.TAG)
        self._unseal = unseal
        self._head = head

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *S)."""
        return (self._count, *self._shape)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: Any) -> np.ndarray:
        """As of an array, along the first axis. Raises StorageError, and HomeError where a row was altered."""
        alone = isinstance(at, np.ndarray) and at.dtype.kind == "i"  # which need no list of all numbers
        numbers = at if alone else np.asarray(np.arange(self._count)[at])
        rows = np.empty((numbers.size, self._size), np.uint8)
        for number, row in zip(numbers.ravel().tolist(), rows, strict=True):
            self._read(number + self._count if number < 0 else number, row)
        return rows.view(self._dtype).reshape(*numbers.shape, *self._shape)

    def _read(self, number: int, row: np.ndarray) -> None:
        if not 0 <= number < self._count:
            raise IndexError(f"there is no row {number} of {self._count}")
        start = self._head + number * self._stored
        try:
            if self._unseal is None:
                whole = os.preadv(self._descriptor, [row.data], start) == self._stored
            else:
                content = os.pread(self._descriptor, self._stored, start)
                whole = len(content) == self._stored
        except OSError as error:
            raise StorageError(f"cannot read {self._path} ({error.strerror}): check the disk and try again") from error
        if not whole:
            raise StorageError(f"cannot read {self._path} (it was cut short): check the disk and try again")
        if self._unseal is not None:
            row[:] = np.frombuffer(self._unseal(number, content), np.uint8)


class Scratch(RowFile):
    """Rows that are added one after another to a file without a name, which is gone with the process.

    In an encrypted home they are sealed with a key that nobody keeps.
    """

    def __init__(self, home: Path, shape: tuple[int, ...], dtype: type = np.float32) -> None:
        """For rows of `shape` (*S), on the disk of `home`. Raises StorageError."""
        with disk.storage_errors(home):
            file = disk.nameless(home)
        self._file = file
        self._chunks = chunks = None if sealing.key_path(home) is None else sealing.Chunks(os.urandom(sealing.KEY))
        unseal = None if chunks is None else lambda number, content: chunks.unseal(number, last=False, content=content)
        super().__init__(file, home, (0, *shape), dtype, unseal)

    def append(self, rows: np.ndarray) -> None:
        """Add `rows` (N, *S). Raises StorageError."""
        content = np.ascontiguousarray(rows, self._dtype).tobytes()
        if self._chunks is not None:
            parts = [content[at : at + self._size] for at in range(0, len(content), self._size)]
            sealed = [self._chunks.seal(self._count + at, last=False, content=part) for at, part in enumerate(parts)]
            content = b"".join(sealed)
        with disk.storage_errors(self._path):
            self._file.seek(self._count * self._stored)  # a write that failed may have left a part of itself
            disk.add(self._file, content)
        self._count += len(rows)

"""All that changes a home on disk, in an order that survives a power cut. Nothing else in the device half writes.

A file is synced before it gets its name, a folder after its entries have changed. A sync that fails is never tried
again: the system may already have dropped what it could not write, so what was written is given up instead.

Each primitive announces itself before it acts. Tests listen in order to count operations, to make one fail, to stop
at one, or to replay them as a disk may have kept them when power failed (`watched`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from reverie.device_runtime.bundle.manifest import FileRecord
from reverie.device_runtime.errors import StorageError

BUFFER = 1 << 20
"""Bytes written at a time."""


class Operation(NamedTuple):
    """One change of the disk that is about to happen: create, write, sync, mkdir, rename, remove, reserve, commit."""

    kind: str
    path: Path
    target: Path | None = None
    content: bytes = b""


Watcher = Callable[[Operation], None]
_watchers: list[Watcher] = []


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Let `watcher` see every operation before it happens; what it raises stops the operation."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def announce(kind: str, path: Path, target: Path | None = None, content: bytes | memoryview = b"") -> None:
    """Tell the watchers what is about to happen."""
    for watcher in _watchers:
        watcher(Operation(kind, path, target, bytes(content)))


class _NewFile(io.RawIOBase):
    """A file that is hashed on its way to the disk; what was there is lost."""

    _descriptor = -1
    """None yet: one that cannot be opened is closed, too."""

    def __init__(self, path: Path) -> None:
        announce("create", path)
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(self._descriptor, 0o600)  # whatever the umask, and if it was there
        self._hash = hashlib.sha256()
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        announce("write", self._path, content=content)
        count = os.write(self._descriptor, content)
        self._hash.update(memoryview(content)[:count])
        self._size += count
        return count

    def sync(self) -> FileRecord:
        announce("sync", self._path)
        os.fsync(self._descriptor)
        # What is read again comes from the disk then, and not from memory.
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return FileRecord(self._hash.hexdigest(), self._size)

    def close(self) -> None:
        if not self.closed and self._descriptor >= 0:
            os.close(self._descriptor)
        super().close()


def write_with(path: Path, fill: Callable[[BinaryIO], object]) -> FileRecord:
    """Let `fill` write one file, which cannot seek, and sync it; its folder is not synced."""
    raw = _NewFile(path)
    try:
        file = io.BufferedWriter(raw, BUFFER)
        fill(file)
        file.flush()
        return raw.sync()
    finally:
        raw.close()


def write(path: Path, content: bytes) -> FileRecord:
    """Write and sync one file; its folder is not synced."""
    return write_with(path, lambda file: file.write(content))


def nameless(folder: Path) -> BinaryIO:
    """A new file on the disk of `folder` that has no name, so that nothing of it is left when it is closed."""
    # Where the disk has no such files it has one for a moment, which is collected as what a cut leaves behind.
    return tempfile.TemporaryFile(dir=folder, prefix=".", suffix=".partial", buffering=0)


def add(file: BinaryIO, content: bytes) -> None:
    """Write all of `content` to the end of a file without a name."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def append(path: Path, content: bytes, *, sync: bool) -> None:
    """Add to the end of a file that is there, at once even where other processes do the same."""
    announce("write", path, content=content)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, content)
        if sync:
            announce("sync", path)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Replace a small file: either the old or the new content is there, whatever happens."""
    work = partial(path)
    write(work, content)
    rename(work, path)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make one folder, for its owner alone."""
    announce("mkdir", path)
    path.mkdir(mode=0o700)
    path.chmod(0o700)  # whatever the umask


def make_private(path: Path) -> None:
    """Let none but its owner read a file or a folder; one that belongs to somebody else stays as it is."""
    mode = 0o700 if path.is_dir() else 0o600
    with contextlib.suppress(PermissionError):
        if path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)


def rename(path: Path, target: Path) -> None:
    """Give `path` the name `target`, in place of a file or an empty folder of that name."""
    announce("rename", path, target)
    path.replace(target)


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable."""
    announce("sync", path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reserve(path: Path, size: int) -> None:
    """Let the file `path` take up `size` bytes; removing it releases them."""
    announce("reserve", path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        for entry in sorted(path.iterdir()):
            remove(entry)
        announce("remove", path)
        path.rmdir()
    elif path.exists() or path.is_symlink():
        announce("remove", path)
        path.unlink()


def destroy(path: Path) -> None:
    """Overwrite a small file with random bytes, and remove it. On flash, the old bytes may survive below the system."""
    if path.exists():
        announce("write", path)
        with path.open("r+b", buffering=0) as file:
            file.write(os.urandom(path.stat().st_size))
            os.fsync(file.fileno())
        remove(path)
        sync_folder(path.parent)


def remove_whole(folder: Path) -> None:
    """Remove a folder that must never be seen with only part of its files: it loses its name first."""
    if folder.exists():
        work = folder.with_name(f".{folder.name}.removed")
        remove(work)
        rename(folder, work)
        sync_folder(folder.parent)
        remove(work)


def write_whole(target: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a new folder, which gets the name `target` when all in it is synced."""
    work = partial(target)
    remove(work)
    make_folder(work)
    fill(work)
    sync_folder(work)
    rename(work, target)
    sync_folder(target.parent)


def partial(path: Path) -> Path:
    """Name of `path` while it is being written."""
    return path.with_name(f".{path.name}.partial")


def is_leftover(path: Path) -> bool:
    """Whether `path` was left behind by a write or a removal that was cut off."""
    return path.name.startswith(".") and path.name.endswith((".partial", ".removed"))


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong inside as StorageError about `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: Path, error: OSError) -> StorageError:
    """What to tell about an error of the disk while `path` was written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(
            f"no space left to write {path}: free some and try again; what was in service stays in service"
        )
    return StorageError(f"cannot write {path} ({error.strerror or error}); what was in service stays in service")

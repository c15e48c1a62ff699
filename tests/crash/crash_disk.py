"""A disk that keeps what was synced, and of the rest what chance will have, after LevelDB's fault injection test.

It follows the operations of what runs and rebuilds what a power cut at any of them may have left: entries of folders
that were not synced are there or not, in any combination; bytes of files that were not synced are there, torn or zero.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reverie.device_runtime.home.disk import Operation
from reverie.device_runtime.home.journal import FILE

JOURNAL = tuple(f"{FILE}{suffix}" for suffix in ("", "-wal"))


@dataclass
class File:
    """Bytes in the order written, how many of them are durable; or where a file is that never changes."""

    written: bytearray = field(default_factory=bytearray)
    durable: int = 0
    before: Path | None = None


@dataclass
class Folder:
    """Entries that are durable, and changes since, each a mapping of names to what they now are."""

    entries: dict[str, File | Folder] = field(default_factory=dict)
    changes: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def now(self) -> dict[str, File | Folder]:
        """Entries as a process sees them."""
        return _apply(self.entries, self.changes)


def _apply(entries: dict, changes: list[dict]) -> dict:
    result = dict(entries)
    for change in changes:
        result |= change
    return {name: node for name, node in result.items() if node is not None}


class CrashDisk:
    """A watcher that keeps the disk below `home` as a power cut would find it.

    The journal is SQLite's own business: of a commit that was under way, its log may hold any part.
    """

    def __init__(self, home: Path, *, ignored: Callable[[Operation], bool] = lambda _: False) -> None:
        """`ignored` tells which operations the disk never hears of, to plant mistakes."""
        self._home = home
        self._ignored = ignored
        self.root = _read(home)
        self._journal = self._read_journal()
        self._committing: tuple[bytes | None, ...] | None = None

    def __call__(self, operation: Operation) -> None:
        if self._committing is not None:
            self._journal, self._committing = self._read_journal(), None
        if operation.kind == "commit":
            self._committing = self._journal
        elif self._home in (operation.path, *operation.path.parents) and not self._ignored(operation):
            getattr(self, f"_{operation.kind}")(operation)

    def settle(self) -> None:
        """What runs is done."""
        self._journal, self._committing = self._read_journal(), None

    def crash(self, into: Path, chance: np.random.Generator, kept: float, torn: float) -> None:
        """Write what is left to `into`: unsynced entries with probability `kept`, unsynced bytes `torn` with theirs."""
        _write(self.root, into, chance, kept, torn)
        journal = self._journal
        if self._committing is not None and chance.random() < kept:
            journal = self._half_committed(chance)
        for name, content in zip(JOURNAL, journal, strict=True):
            if content is not None:
                (into / name).write_bytes(content)

    def _half_committed(self, chance: np.random.Generator) -> tuple[bytes | None, ...]:
        """The log with garbage after its last commit, as of a write that was torn."""
        database, log = self._journal
        return database, (log or b"") + chance.bytes(int(chance.integers(1, 5000))) if log else log

    def _read_journal(self) -> tuple[bytes | None, ...]:
        paths = [self._home / name for name in JOURNAL]
        return tuple(path.read_bytes() if path.exists() else None for path in paths)

    def _node(self, path: Path) -> File | Folder:
        node: File | Folder = self.root
        for name in path.relative_to(self._home).parts:
            assert isinstance(node, Folder)
            node = node.now()[name]
        return node

    def _change(self, path: Path, change: dict[str, File | Folder | None]) -> None:
        folder = self._node(path.parent)
        assert isinstance(folder, Folder)
        folder.changes.append(change)

    def _create(self, operation: Operation) -> None:
        self._change(operation.path, {operation.path.name: File()})

    def _reserve(self, operation: Operation) -> None:
        self._create(operation)

    def _write(self, operation: Operation) -> None:
        node = self._node(operation.path)
        assert isinstance(node, File)
        node.written += operation.content

    def _mkdir(self, operation: Operation) -> None:
        self._change(operation.path, {operation.path.name: Folder()})

    def _rename(self, operation: Operation) -> None:
        assert operation.target is not None
        node = self._node(operation.path)
        self._change(operation.path, {operation.path.name: None, operation.target.name: node})

    def _remove(self, operation: Operation) -> None:
        self._change(operation.path, {operation.path.name: None})

    def _sync(self, operation: Operation) -> None:
        node = self._node(operation.path)
        if isinstance(node, File):
            node.durable = len(node.written)
        else:
            node.entries, node.changes = node.now(), []


def _read(folder: Path) -> Folder:
    """What is there before anything runs, all of it durable."""
    entries: dict[str, File | Folder] = {}
    for path in folder.iterdir():
        if path.name not in {*JOURNAL, f"{FILE}-shm"}:
            entries[path.name] = _read(path) if path.is_dir() else _durable(path)
    return Folder(entries)


def _durable(path: Path) -> File:
    """Files of a bundle never change and are linked to; others may be removed meanwhile."""
    content = b"" if "bundles" in path.parts else path.read_bytes()
    return File(bytearray(content), len(content), path if "bundles" in path.parts else None)


def _write(folder: Folder, into: Path, chance: np.random.Generator, kept: float, torn: float) -> None:
    into.mkdir()
    changes = [change for change in folder.changes if chance.random() < kept]
    for name, node in _apply(folder.entries, changes).items():
        if isinstance(node, Folder):
            _write(node, into / name, chance, kept, torn)
        elif node.before is None:
            (into / name).write_bytes(_left(node, chance, torn))
        else:
            os.link(node.before, into / name)


def _left(file: File, chance: np.random.Generator, torn: float) -> bytes:
    content = bytes(file.written)
    pending = len(content) - file.durable
    if pending == 0 or chance.random() >= torn:
        return content
    left = file.durable + int(chance.integers(0, pending))
    rest = bytes(len(content) - left) if chance.random() < 0.5 else b""  # blocks that were given but not written
    return content[:left] + rest

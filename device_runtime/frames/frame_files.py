"""One frame: what the journal knows of it, and its image file in the home, plain or sealed."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reverie.device_runtime.errors import FramesError, HomeError
from reverie.device_runtime.home import disk, sealing


@dataclass(frozen=True)
class Frame:
    """One frame: `file` in the home, `size` in bytes on the disk, `reason` if it was set aside.

    A `released` one was looked at by somebody, and is not checked again. One with a `generation` is being learnt by the
    update that makes it, or was, and goes once that is confirmed.
    """

    id: int
    label: str
    file: str
    sha256: str
    size: int
    added: str
    reason: str | None
    released: int
    generation: str | None

    def to_json(self) -> dict[str, Any]:
        """What may be shown of it."""
        return {"id": self.id, "label": self.label, "size": self.size, "added": self.added, "reason": self.reason}


def read_file(home: Path, frame: Frame) -> bytes:
    """The image file that was stored. Raises FramesError if it is damaged, HomeError if the key is not there."""
    try:
        content = (home / frame.file).read_bytes()
    except OSError:
        content = b""
    key = sealing.reading_key(home)
    if sealing.is_sealed(content) and key is not None:
        try:
            content = sealing.unseal(content, key, frame.file)
        except HomeError as error:
            raise FramesError(str(error)) from None
    if hashlib.sha256(content).hexdigest() != frame.sha256:
        raise FramesError(f"{home / frame.file} was damaged: remove it with reverie purge --label")
    return content


def write_file(home: Path, folder: str, content: bytes, key: bytes | None) -> tuple[str, int]:
    """A new file in `folder` of `home`, synced, and sealed where there is a `key`: its name in the home, and its size.

    Raises StorageError; there is no file then.
    """
    path = home / folder / f"{secrets.token_hex(8)}.{'image' if key is None else 'sealed'}"
    file = path.relative_to(home).as_posix()
    with disk.storage_errors(path):
        try:
            for made in (path.parent.parent, path.parent):
                if not made.exists():
                    disk.make_folder(made)
                    disk.sync_folder(made.parent)
            record = sealing.write(path, key, file, lambda f: f.write(content))
            disk.sync_folder(path.parent)
        except OSError:
            with contextlib.suppress(OSError):
                disk.remove(path)
            raise
    return file, record.size

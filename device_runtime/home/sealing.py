"""Encryption at rest: what holds pixels is sealed with the home's key, and is nothing but noise once that is destroyed.

A sealed file is a mark, a salt of 32 random bytes, and chunks in AES-256-GCM. The file's own key comes from the home's
by HKDF-SHA256, with the salt and with the file's name in the home, so that files cannot be swapped; the nonce is the
chunk's number and whether it is the last, so that none is used twice, and chunks cannot be left out, swapped or cut.
After Hoang et al., "Online authenticated-encryption and its nonce-reuse misuse-resistance", CRYPTO 2015 (STREAM), and
Tink's AES-GCM-HKDF streaming.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from reverie.device_runtime.errors import HomeError
from reverie.device_runtime.home import disk
from reverie.device_runtime.home.layout import MARK

SIGN = b"reverie sealed 1"
SALT = 32
HEAD = len(SIGN) + SALT
"""Bytes before the first chunk."""
KEY = 32
CHUNK = 1 << 20
TAG = 16
"""Bytes by which a chunk grows."""


def key_path(home: Path) -> Path | None:
    """Where the key of `home` is, None if it is not encrypted."""
    try:
        place = json.loads((home / MARK).read_text(encoding="utf-8")).get("key")
    except (OSError, ValueError, AttributeError):
        return None
    return None if place is None else home / str(place)


def make_key(path: Path) -> None:
    """Write a new random key, for its owner alone; one that is there stays. Raises OSError, HomeError."""
    if path.exists():
        _read(path)
    else:
        disk.replace(path, os.urandom(KEY).hex().encode() + b"\n")


def reading_key(home: Path) -> bytes | None:
    """The key of `home`, None if it is not encrypted. Raises HomeError."""
    path = key_path(home)
    return None if path is None else _read(path)


def writing_key(home: Path, in_use: bool) -> bytes | None:
    """The same; a key that is gone is made anew, unless something is sealed with it (`in_use`). Raises HomeError."""
    path = key_path(home)
    if path is not None and not path.exists() and not in_use:
        with disk.storage_errors(path):
            make_key(path)
    return reading_key(home)


def write(
    path: Path, key: bytes | None, name: str, fill: Callable[[BinaryIO], object], chunk: int | None = None
) -> Any:
    """As `disk.write_with`, sealed as `name` if there is a `key`; in chunks of `chunk` bytes they can be read alone."""
    if key is None:
        return disk.write_with(path, fill)

    def sealed(file: BinaryIO) -> None:
        writer = _Sealing(file, key, name, chunk or CHUNK)
        fill(writer)  # type: ignore[arg-type]
        writer.finish()

    return disk.write_with(path, sealed)


def unseal(content: bytes, key: bytes, name: str) -> bytes:
    """What was sealed as `name`. Raises HomeError if it was altered, or sealed with another key or name."""
    chunks = Chunks(key, content[len(SIGN) : HEAD], name)
    plain = io.BytesIO()
    starts = range(HEAD, max(len(content), HEAD + 1), CHUNK + TAG)
    for number, at in enumerate(starts):
        plain.write(chunks.unseal(number, at == starts[-1], content[at : at + CHUNK + TAG]))
    return plain.getvalue()


def is_sealed(content: bytes) -> bool:
    """Whether `content` is that of a sealed file."""
    return content.startswith(SIGN)


class Chunks:
    """Seals and unseals the chunks of one file, by their number and by which is the last."""

    def __init__(self, key: bytes, salt: bytes = b"", name: str = "") -> None:
        """The file's own key comes from `key`, `salt` and `name`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        self._name = name
        self._cipher = AESGCM(HKDF(SHA256(), KEY, salt, name.encode()).derive(key))

    def seal(self, number: int, last: bool, content: bytes) -> bytes:
        """TAG bytes longer than `content`."""
        return self._cipher.encrypt(_nonce(number, last), content, None)

    def unseal(self, number: int, last: bool, content: bytes) -> bytes:
        """What was sealed as this chunk. Raises HomeError if it was another, or altered."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(_nonce(number, last), content, None)
        except (InvalidTag, ValueError):
            raise HomeError(
                f"{self._name} was altered or sealed with another key: put the right key back, or purge"
            ) from None


class _Sealing(io.RawIOBase):
    """Seals what is written to it, a chunk at a time."""

    def __init__(self, file: BinaryIO, key: bytes, name: str, chunk: int) -> None:
        salt = os.urandom(SALT)
        file.write(SIGN + salt)
        self._file = file
        self._chunks = Chunks(key, salt, name)
        self._chunk = chunk
        self._buffer = bytearray()
        self._number = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        size = memoryview(content).nbytes
        self._buffer += content
        while len(self._buffer) > self._chunk:  # what may be the last chunk waits for `finish`
            self._seal(self._chunk, last=False)
        return size

    def finish(self) -> None:
        self._seal(len(self._buffer), last=True)

    def _seal(self, size: int, last: bool) -> None:
        self._file.write(self._chunks.seal(self._number, last, bytes(self._buffer[:size])))
        del self._buffer[:size]
        self._number += 1


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _read(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        key = b""
    if len(key) != KEY:
        raise HomeError(
            f"{path} is not there or no key: put back the key that the frames were sealed with, "
            "or remove them all with reverie purge --all"
        )
    return key

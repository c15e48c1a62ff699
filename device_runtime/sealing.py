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
from typing import TYPE_CHECKING, Any, BinaryIO

from reverie.device_runtime import disk
from reverie.device_runtime.errors import HomeError
from reverie.device_runtime.home import MARK

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SIGN = b"reverie sealed 1"
SALT = 32
KEY = 32
CHUNK = 1 << 20
TAG = 16


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


def write(path: Path, key: bytes | None, name: str, fill: Callable[[BinaryIO], object]) -> Any:
    """As `disk.write_with`, sealed as `name` if there is a `key`."""
    if key is None:
        return disk.write_with(path, fill)

    def sealed(file: BinaryIO) -> None:
        writer = _Sealing(file, key, name)
        fill(writer)  # type: ignore[arg-type]
        writer.finish()

    return disk.write_with(path, sealed)


def unseal(content: bytes, key: bytes, name: str) -> bytes:
    """What was sealed as `name`. Raises HomeError if it was altered, or sealed with another key or name."""
    from cryptography.exceptions import InvalidTag

    head = len(SIGN) + SALT
    cipher = _cipher(key, content[len(SIGN) : head], name)
    plain = io.BytesIO()
    starts = range(head, max(len(content), head + 1), CHUNK + TAG)
    try:
        for number, at in enumerate(starts):
            chunk = content[at : at + CHUNK + TAG]
            plain.write(cipher.decrypt(_nonce(number, last=at == starts[-1]), chunk, None))
    except (InvalidTag, ValueError):
        raise HomeError(f"{name} was altered or sealed with another key: put the right key back, or purge") from None
    return plain.getvalue()


def is_sealed(content: bytes) -> bool:
    """Whether `content` is that of a sealed file."""
    return content.startswith(SIGN)


class _Sealing(io.RawIOBase):
    """Seals what is written to it, a chunk at a time."""

    def __init__(self, file: BinaryIO, key: bytes, name: str) -> None:
        salt = os.urandom(SALT)
        file.write(SIGN + salt)
        self._file = file
        self._cipher = _cipher(key, salt, name)
        self._buffer = bytearray()
        self._number = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        size = memoryview(content).nbytes
        self._buffer += content
        while len(self._buffer) > CHUNK:  # what may be the last chunk waits for `finish`
            self._seal(CHUNK, last=False)
        return size

    def finish(self) -> None:
        self._seal(len(self._buffer), last=True)

    def _seal(self, size: int, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, last), bytes(self._buffer[:size]), None))
        del self._buffer[:size]
        self._number += 1


def _cipher(key: bytes, salt: bytes, name: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return AESGCM(HKDF(SHA256(), KEY, salt, name.encode()).derive(key))


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

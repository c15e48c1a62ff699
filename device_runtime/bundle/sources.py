"""Where a bundle comes from, a folder or the same folder as one zip file, and whether it may be taken.

Of a zip, the list of its members is checked before anything is read: regular files that are stored as they are, under
the names that the manifest gives. Nothing is ever extracted by a name that the zip states.
"""

from __future__ import annotations

import contextlib
import stat
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.contents import identity, no_bundle, require_match
from reverie.device_runtime.bundle.gaussians import ClassGaussians, read_gaussians
from reverie.device_runtime.bundle.manifest import (
    GAUSSIANS,
    MANIFEST,
    MAX_FILES,
    MAX_MANIFEST,
    NAMED_BY_NONE,
    SIGNATURE,
    STATISTICS,
    FileRecord,
    Manifest,
)
from reverie.device_runtime.bundle.onnx_check import check_model
from reverie.device_runtime.bundle.onnx_operators import OPERATORS
from reverie.device_runtime.bundle.parsing import parse_manifest
from reverie.device_runtime.bundle.statistics import ClassStatistics, read_statistics
from reverie.device_runtime.errors import BundleError, SignatureError
from reverie.device_runtime.files import read_file

_END = 22
"""Bytes of the record at the end of a zip that has no comment."""
_END_MARK, _LARGE_MARK = b"PK\x05\x06", b"PK\x06\x07"
_MAX_LIST = MAX_FILES * 1024
"""Bytes of the list of members."""


class Source(Protocol):
    """A bundle as it was given."""

    @property
    def path(self) -> Path:
        """The folder or the zip file."""

    def read(self, name: str, limit: int) -> bytes | None:
        """Content of a file of the bundle, no more than `limit` + 1 bytes of it, or None if there is none."""

    def require_only(self, names: Collection[str]) -> None:
        """Raise BundleError where the source holds what none of `names` is."""


@dataclass(frozen=True)
class Folder:
    """A bundle folder. What lies there beside the bundle's files is left alone."""

    path: Path

    def read(self, name: str, limit: int) -> bytes | None:
        """Content of a file of the folder."""
        try:
            return read_file(self.path / name, limit)
        except OSError:
            return None

    def require_only(self, names: Collection[str]) -> None:
        """A folder may hold more: nothing but the files of the manifest is taken from it."""


@dataclass(frozen=True)
class Zip:
    """A bundle as one zip file without compression."""

    path: Path
    file: zipfile.ZipFile

    def read(self, name: str, limit: int) -> bytes | None:
        """Content of a member."""
        try:
            with self.file.open(name) as member:
                return member.read(limit + 1)
        except KeyError:
            return None
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
            raise _damaged(self.path) from None

    def require_only(self, names: Collection[str]) -> None:
        """Refuse members that the manifest does not name."""
        for member in self.file.namelist():
            if member not in names:
                raise BundleError(f"{self.path} holds {member!r}, which its manifest does not name: export it again")


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """The bundle at `path`. Raises BundleError."""
    if not path.is_file():
        yield Folder(path)
        return
    try:
        _check_end(path)
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        raise _damaged(path) from None
    with contextlib.closing(file):
        _check_members(path, file)
        yield Zip(path, file)


@dataclass(frozen=True)
class Accepted:
    """A bundle that was checked whole: its manifest, that file's exact bytes, and its signature where it has one."""

    manifest: Manifest
    text: bytes
    signature: bytes | None

    @property
    def identity(self) -> str:
        """Name of the bundle in a home."""
        return identity(self.text)

    @property
    def own_files(self) -> dict[str, bytes]:
        """The files that the manifest does not name."""
        return {MANIFEST: self.text} | ({} if self.signature is None else {SIGNATURE: self.signature})


def accept(source: Source, key: bytes | None, operators: Mapping[str, frozenset[str]] = OPERATORS) -> Accepted:
    """Check all of a bundle: the signature, if a public `key` is given, every hash, every model.

    No model may hold others than `operators`. One file at a time is in memory. Raises BundleError, SignatureError.
    """
    text = source.read(MANIFEST, MAX_MANIFEST)
    if text is None:
        raise no_bundle(source.path)
    signature = source.read(SIGNATURE, signing.SIGNATURE_BYTES)
    if key is not None:
        signing.check(text, signature, key, source.path)
    if signature is not None and len(signature) != signing.SIGNATURE_BYTES:
        raise SignatureError(f"{source.path / SIGNATURE} is no signature: sign the bundle again, or remove it")
    manifest = parse_manifest(text, source.path / MANIFEST)
    source.require_only({*manifest.files, *NAMED_BY_NONE})
    for name, record in manifest.files.items():
        check_part(manifest, name, read_part(source, name, record), source.path / name, operators)
    return Accepted(manifest, text, signature)


def read_part(source: Source, name: str, record: FileRecord) -> bytes:
    """A file of the bundle, which must match `record`. Raises BundleError."""
    content = source.read(name, record.size)
    if content is None:
        raise BundleError(f"{source.path} lacks {name}: copy the bundle again")
    require_match(content, record, source.path / name)
    return content


def check_part(
    manifest: Manifest,
    name: str,
    content: bytes,
    where: Path,
    operators: Mapping[str, frozenset[str]] = OPERATORS,
) -> None:
    """Refuse a model that may not run, or whose weights are not where the manifest says, and statistics of no classes.

    Raises BundleError.
    """
    found: ClassStatistics | ClassGaussians | None = None
    if name == STATISTICS:
        found = read_statistics(content, manifest.slots, manifest.kept_features, where)
    elif name == GAUSSIANS and manifest.gaussians is not None:
        found = read_gaussians(content, manifest.slots, manifest.features, manifest.gaussians.rank, where)
    is_trained = manifest.statistics is None  # and so must have what rehearses each class
    if found is not None and is_trained and not found.counts[: len(manifest.classes)].all():
        raise BundleError(f"{where} lacks one of {', '.join(manifest.classes)}: export the bundle again")
    if not name.endswith(".onnx"):
        return
    places = check_model(content, where, manifest.injected(name), operators)
    for tensor, record in manifest.tensors.get(name.removesuffix(".onnx"), {}).items():
        if places.get(tensor, (-1, -1)) != (record.offset, record.offset + record.bytes):
            raise BundleError(f"the weight {tensor} is not where the manifest says in {where}: export the bundle again")


def _check_end(path: Path) -> None:
    """Raise ValueError unless the record at the end of a zip states a list of members that is short."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - _END - 20, 0))
        end = file.read()
    large, end = end[:-_END][-20:], end[-_END:]
    count, length = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if end[:4] != _END_MARK or end[20:] != b"\0\0" or large.startswith(_LARGE_MARK):
        raise ValueError("no plain zip file")
    if count > MAX_FILES + len(NAMED_BY_NONE) or length > _MAX_LIST:
        raise ValueError("too many members")


def _check_members(path: Path, file: zipfile.ZipFile) -> None:
    """Raise BundleError unless all members are regular files, once each, stored without compression or encryption."""
    members = file.infolist()
    size = path.stat().st_size
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if (
            member.orig_filename != member.filename
            or member.is_dir()
            or kind not in {0, stat.S_IFREG}
            or member.flag_bits & 0x1
            or member.compress_type != zipfile.ZIP_STORED
            or member.compress_size != member.file_size
        ):
            raise BundleError(
                f"{path} holds {member.filename!r}, which is no regular file stored as it is: export it again"
            )
    if len({member.filename for member in members}) != len(members):
        raise BundleError(f"{path} holds two files of one name: export it again")
    if sum(member.file_size for member in members) > size:
        raise _damaged(path)


def _damaged(path: Path) -> BundleError:
    return BundleError(f"{path} is no readable zip of a bundle: copy it again")

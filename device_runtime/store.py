"""The home directory of a box: installed bundles, generations, and the pointer to the one in service.

    HOME/
      home.json            marks the directory as a home and gives its layout's version
      current              name of the generation in service
      bundles/ID/          one installed bundle (graphs), ID from the hash of its manifest
      generations/0000/    solver.onnx, generator.onnx, discriminator.onnx, generation.json, report.json

A generation is immutable: written whole under a temporary name, synced, renamed; then `current` is replaced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from reverie.device_runtime import bundle
from reverie.device_runtime.bundle import FileRecord, fingerprint, read_manifest, read_verified
from reverie.device_runtime.errors import BundleError, HomeError, StorageError
from reverie.device_runtime.models import Models, weights_in_files

LAYOUT = 1


@dataclass(frozen=True)
class Generation:
    """What is recorded about one generation; `files` are its model files."""

    name: str
    bundle: str
    parent: str | None
    created: str
    classes: tuple[str, ...]
    files: dict[str, FileRecord]

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries."""
        return dataclasses.asdict(self)


def open_home(home: Path) -> Path:
    """Check that `home` is a home of this layout. Raises HomeError."""
    try:
        layout = json.loads((home / "home.json").read_text(encoding="utf-8"))["layout"]
    except (OSError, ValueError, KeyError, TypeError):
        raise HomeError(f"{home} is not a Reverie home: run reverie install BUNDLE --home {home}") from None
    if layout != LAYOUT:
        raise HomeError(f"{home} has layout {layout!r}, this Reverie knows {LAYOUT}: update Reverie")
    return home


def install(source: Path, home: Path) -> Generation:
    """Copy the bundle folder `source` into `home` and put generation 0 into service.

    A home that does not exist is made; one that has a generation in service already is refused. Every file is
    verified on the way. Raises BundleError, HomeError, StorageError; nothing is left behind.
    """
    if (home / "home.json").exists():
        raise HomeError(f"{home} serves generation {current(open_home(home))} already: choose another --home")
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise HomeError(f"{home} exists and is not a Reverie home: choose an empty or new directory")
    manifest = read_manifest(source)
    contents = {name: read_verified(source, name, record) for name, record in manifest.files.items()}
    manifest_text = manifest.to_json()
    identity = hashlib.sha256(manifest_text.encode()).hexdigest()[:16]
    generation = Generation(
        name="0000",
        bundle=identity,
        parent=None,
        created=_now(),
        classes=manifest.classes,
        files={f"{n}.onnx": manifest.files[f"{n}.onnx"] for n in bundle.MODELS},
    )

    def write(work: Path) -> None:
        target = work / "bundles" / identity
        for name, content in contents.items():
            _write(target / name, content)
        _write(target / bundle.MANIFEST, manifest_text.encode())
        _write_generation(
            work / "generations" / generation.name,
            generation,
            {n: contents[n] for n in generation.files},
            None,
        )
        _write(work / "current", generation.name.encode())
        _write(work / "home.json", json.dumps({"layout": LAYOUT}).encode())

    home = home.resolve()
    if home.exists():
        _fill(home, write)
    else:
        _write_whole(home, write)
    return generation


def read_generation(home: Path, name: str | None = None) -> Generation:
    """The record of generation `name`, or of the one in service. Raises HomeError."""
    name = name or current(open_home(home))
    try:
        path = home / "generations" / name / "generation.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        values["classes"] = tuple(values["classes"])
        values["files"] = {path: FileRecord(**record) for path, record in values["files"].items()}
        return Generation(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise HomeError(f"{home} has no readable generation {name}: install the bundle into a new home") from None


def load_models(home: Path, generation: Generation) -> Models:
    """The networks of `generation`, every file of it and of its bundle verified. Raises BundleError."""
    graphs = home / "bundles" / generation.bundle
    manifest = read_manifest(graphs)
    for path, record in manifest.files.items():
        read_verified(graphs, path, record)
    folder = home / "generations" / generation.name
    files = {n: read_verified(folder, f"{n}.onnx", generation.files[f"{n}.onnx"]) for n in bundle.MODELS}
    return Models(graphs, manifest, generation.classes, **weights_in_files(manifest, files))


def current(home: Path) -> str:
    """Name of the generation in service. Raises HomeError."""
    try:
        return (home / "current").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise HomeError(f"{home} has no generation in service: install the bundle into a new home") from None


def generations(home: Path) -> list[str]:
    """Names of all generations, oldest first."""
    found = (p for p in (home / "generations").iterdir() if not p.name.startswith("."))
    return sorted(p.name for p in found if (p / "generation.json").is_file())


def add_generation(home: Path, parent: Generation, models: Models, report: Mapping[str, Any]) -> Generation:
    """Write `models` as a new generation and put it into service. Raises StorageError."""
    name = f"{int(generations(home)[-1]) + 1:04d}"
    contents = {f"{n}.onnx": models.model_file(n) for n in bundle.MODELS}
    generation = Generation(
        name=name,
        bundle=parent.bundle,
        parent=parent.name,
        created=_now(),
        classes=models.classes,
        files={path: fingerprint(content) for path, content in contents.items()},
    )
    target = home / "generations" / name
    _write_whole(target, lambda work: _write_generation(work, generation, contents, report))
    try:
        _replace(home / "current", name.encode())
    except StorageError:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return generation


def read_report(home: Path, name: str) -> dict[str, Any] | None:
    """The report of generation `name`, None for generation 0. Raises BundleError if it is damaged."""
    path = home / "generations" / name / "report.json"
    if not path.exists():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BundleError(f"{path} is damaged: the generation itself is not affected") from None
    return report


def require_space(home: Path, needed: int) -> None:
    """Raise StorageError unless `needed` bytes are free where `home` lies."""
    free = shutil.disk_usage(home).free
    if free < needed:
        raise StorageError(
            f"no space left for a new generation in {home}: {free >> 20} MB are free, {needed >> 20} MB are needed"
        )


def _write_generation(
    folder: Path, generation: Generation, contents: Mapping[str, bytes], report: Mapping[str, Any] | None
) -> None:
    for name, content in contents.items():
        _write(folder / name, content)
    if report is not None:
        _write(folder / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    _write(folder / "generation.json", (json.dumps(generation.to_json(), indent=1) + "\n").encode())


def _write_whole(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder beside `target`, sync it and rename it to `target`."""
    work = target.with_name(f".{target.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    renamed = False
    try:
        work.mkdir(parents=True, mode=0o700)
        write(work)
        for folder in (work, *(p for p in work.rglob("*") if p.is_dir())):
            _sync_folder(folder)
        work.rename(target)
        renamed = True
        _sync_folder(target.parent)
    except OSError as error:
        if renamed:
            shutil.rmtree(target, ignore_errors=True)
        raise _storage_error(target, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fill(folder: Path, write: Callable[[Path], None]) -> None:
    """As `_write_whole`, in an empty folder that must stay, such as a mount point; the mark of a home comes last."""
    work = folder / "new"
    _write_whole(work, write)
    try:
        for path in sorted(work.iterdir(), key=lambda p: p.name == "home.json"):
            path.rename(folder / path.name)
        work.rmdir()
        _sync_folder(folder)
    except OSError as error:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise _storage_error(folder, error) from error


def _replace(path: Path, content: bytes) -> None:
    """Replace a small file so that either the old or the new content is there, whatever happens."""
    work = path.with_name(f".{path.name}.partial")
    try:
        _write(work, content)
        work.replace(path)
    except OSError as error:
        work.unlink(missing_ok=True)
        raise _storage_error(path, error) from error
    with contextlib.suppress(OSError):  # from here on it is in service; after a power cut either content is valid
        _sync_folder(path.parent)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(path: Path, error: OSError) -> StorageError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(f"no space left to write {path}: free some and try again; nothing was changed")
    return StorageError(f"cannot write {path} ({error.strerror}); nothing was changed")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

"""What a home holds: an installed bundle, generations, and the pointer to the one in service.

A generation is immutable: written whole under a temporary name, synced, renamed, read back; then `current` is
replaced. The functions that change a home are for the one command that holds its lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reverie.device_runtime import bundle, disk, journal
from reverie.device_runtime.bundle import FileRecord, fingerprint, read_manifest, read_verified
from reverie.device_runtime.errors import BundleError, HomeError, StorageError
from reverie.device_runtime.home import LAYOUT, LOCK, MARK, locked, open_home
from reverie.device_runtime.journal import Journal
from reverie.device_runtime.models import Models, weights_in_files

INSTALLING = ".home.partial"
"""In a directory that is becoming a home: what is there was left by an installation that was cut off."""


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


def install(source: Path, home: Path) -> Generation:
    """Copy the bundle folder `source` into `home` and put generation 0 into service.

    A home that does not exist is made; one that has a generation in service already is refused. Every file is
    verified on the way. The mark of a home is written last. Raises BundleError, HomeError, StorageError; nothing is
    left behind.
    """
    home = home.resolve()
    _require_unused(home)
    manifest = read_manifest(source)
    contents = {name: read_verified(source, name, record) for name, record in manifest.files.items()}
    manifest_text = manifest.to_json()
    identity = hashlib.sha256(manifest_text.encode()).hexdigest()[:16]
    generation = Generation(
        name="0000",
        bundle=identity,
        parent=None,
        created=journal.now(),
        classes=manifest.classes,
        files={f"{n}.onnx": manifest.files[f"{n}.onnx"] for n in bundle.MODELS},
    )

    def write_bundle(folder: Path) -> None:
        for name, content in (contents | {bundle.MANIFEST: manifest_text.encode()}).items():
            _make_folders((folder / name).parent)
            disk.write(folder / name, content)
        for inner in sorted(p for p in folder.rglob("*") if p.is_dir()):
            disk.sync_folder(inner)

    def write_generation(folder: Path) -> None:
        _write_generation(folder, generation, {n: contents[n] for n in generation.files}, None)

    def write_home() -> None:
        disk.write(home / INSTALLING, b"")
        disk.sync_folder(home)
        _remove_all(home)
        for name in ("bundles", "generations"):
            disk.make_folder(home / name)
        disk.write_whole(home / "bundles" / identity, write_bundle)
        disk.write_whole(home / "generations" / generation.name, write_generation)
        with contextlib.closing(Journal(home)) as opened:
            opened.note("installed", bundle=identity, name=manifest.name, generation=generation.name)
        disk.write(home / "current", generation.name.encode())
        disk.sync_folder(home)
        disk.sync_folder(home.parent)
        disk.replace(home / MARK, json.dumps({"layout": LAYOUT}).encode())

    made = not home.exists()
    with disk.storage_errors(home):
        _make_folders(home)
        with locked(home):
            _require_unused(home)
            try:
                write_home()
            except BaseException:
                with contextlib.suppress(OSError):
                    _remove_all(home)
                    for path in (home / LOCK, home / INSTALLING, *([home] if made else [])):
                        disk.remove(path)
                raise
            with contextlib.suppress(OSError):  # else it is a leftover that the next change collects
                disk.remove(home / INSTALLING)
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


def next_generation(home: Path) -> str:
    """Name of the generation that an update would make."""
    return f"{int(generations(home)[-1]) + 1:04d}"


def add_generation(home: Path, parent: Generation, models: Models, report: Mapping[str, Any]) -> Generation:
    """Write `models` as a new generation and put it into service. Raises StorageError; nothing is changed then."""
    name = next_generation(home)
    contents = {f"{n}.onnx": models.model_file(n) for n in bundle.MODELS}
    generation = Generation(
        name=name,
        bundle=parent.bundle,
        parent=parent.name,
        created=journal.now(),
        classes=models.classes,
        files={path: fingerprint(content) for path, content in contents.items()},
    )
    target = home / "generations" / name
    before = current(home)
    try:
        with disk.storage_errors(target):
            disk.write_whole(target, lambda work: _write_generation(work, generation, contents, report))
            _verify(home, generation)
            put_in_service(home, name)
    except StorageError:
        with contextlib.suppress(OSError):
            _put_back(home, before)
            disk.remove(disk.partial(target))
            disk.remove_whole(target)
        raise
    return generation


def put_in_service(home: Path, name: str) -> None:
    """Let `current` name generation `name`. Raises OSError, and whether the change is durable is then unknown."""
    disk.replace(home / "current", name.encode())


def confirm(home: Path) -> Generation:
    """Load the generation in service again from disk: only then may older ones go. Raises BundleError, HomeError.

    Further proof that it is fit to serve, such as its first predictions, belongs here.
    """
    generation = read_generation(home)
    load_models(home, generation)
    return generation


def retire(home: Path, keep: int) -> None:
    """Remove all but the `keep` newest generations, never the one in service nor its parent. Raises StorageError."""
    serving = read_generation(home)
    for name in generations(home)[:-keep]:
        if name not in {serving.name, serving.parent}:
            with disk.storage_errors(home / "generations" / name):
                disk.remove_whole(home / "generations" / name)


def discard(home: Path, name: str) -> None:
    """Remove a generation that is not in service. Raises OSError.

    The pointer is written anew first: after a sync that failed, the disk might name `name`, whatever is read now.
    """
    target = home / "generations" / name
    if target.exists() and current(home) != name:
        put_in_service(home, current(home))
        disk.remove_whole(target)


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
        disk.write(folder / name, content)
    if report is not None:
        disk.write(folder / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    disk.write(folder / "generation.json", (json.dumps(generation.to_json(), indent=1) + "\n").encode())


def _verify(home: Path, generation: Generation) -> None:
    """Read back what was written. Raises StorageError where the disk does not give it back."""
    try:
        for name, record in generation.files.items():
            read_verified(home / "generations" / generation.name, name, record)
    except BundleError as error:
        raise StorageError(f"the disk does not keep what is written to it ({error}): replace it") from error


def _put_back(home: Path, name: str) -> None:
    """Let `current` name `name` again, at least until the next start. Raises OSError unless that is durable."""
    if current(home) != name:
        try:
            put_in_service(home, name)
        except OSError:
            work = disk.partial(home / "current")
            work.write_text(name, encoding="utf-8")
            work.replace(home / "current")
            raise


def _require_unused(home: Path) -> None:
    """Raise HomeError unless `home` can become one: new, empty, or left by an installation that was cut off."""
    if (home / MARK).exists():
        raise HomeError(f"{home} serves generation {current(open_home(home))} already: choose another --home")
    if not home.exists():
        return
    found = {p.name for p in home.iterdir()} - {"lost+found"} if home.is_dir() else {home.name}
    if found - {LOCK} and INSTALLING not in found:
        raise HomeError(f"{home} exists and is not a Reverie home: choose an empty or new directory")


def _remove_all(home: Path) -> None:
    """Empty a directory that did not become a home, its mark first. Raises OSError."""
    if (home / MARK).exists():
        disk.remove(home / MARK)
        disk.sync_folder(home)
    for path in home.iterdir():
        if path.name not in {LOCK, INSTALLING, "lost+found"}:
            disk.remove(path)


def _make_folders(path: Path) -> None:
    """Make a folder and those above it that are missing."""
    if not path.is_dir():
        _make_folders(path.parent)
        disk.make_folder(path)

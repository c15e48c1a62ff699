"""What a home holds: an installed bundle, generations, and the pointer to the one in service.

A generation is immutable: written whole under a temporary name, synced, renamed, read back; then `current` is
replaced. One that is not fit to serve is renamed instead, and counts no more. The functions that change a home are for
the one command that holds its lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from reverie.device_runtime.bundle.contents import fingerprint, read_manifest, read_verified
from reverie.device_runtime.bundle.manifest import FileRecord
from reverie.device_runtime.errors import BundleError, HomeError, StorageError
from reverie.device_runtime.home import disk, journal
from reverie.device_runtime.home.layout import open_home
from reverie.device_runtime.home.pictures import SYNTHESISED
from reverie.device_runtime.method.models import Models, models_of

KEEP = 3
"""Generations kept by default."""
REJECTED = ".rejected"
"""Behind the name of a generation that was not fit to serve."""


@dataclass(frozen=True)
class Generation:
    """What is recorded about one generation; `files` are its models and its picture."""

    name: str
    bundle: str
    parent: str | None
    created: str
    classes: tuple[str, ...]
    files: dict[str, FileRecord]
    learnt: tuple[int, ...] = ()
    """As in `Models`."""

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries."""
        return dataclasses.asdict(self)


def read_generation(home: Path, name: str | None = None) -> Generation:
    """The record of generation `name`, or of the one in service. Raises HomeError."""
    name = name or current(open_home(home))
    try:
        path = home / "generations" / name / "generation.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        values["classes"] = tuple(values["classes"])
        values["learnt"] = tuple(values.get("learnt", ()))
        values["files"] = {path: FileRecord(**record) for path, record in values["files"].items()}
        return Generation(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise HomeError(f"{home} has no readable generation {name}: install the bundle into a new home") from None


def load_models(home: Path, generation: Generation) -> Models:
    """The networks of `generation`, every file of it and of its bundle verified. Raises BundleError."""
    graphs = home / "bundles" / generation.bundle
    manifest = read_manifest(graphs, generation.bundle)
    for path, record in manifest.files.items():
        read_verified(graphs, path, record)
    folder = home / "generations" / generation.name
    try:
        files = {name: read_verified(folder, name, generation.files[name]) for name in manifest.changing}
    except KeyError as missing:
        raise BundleError(f"{folder} lacks {missing}: install the bundle into a new home") from None
    return models_of(graphs, manifest, generation.classes, files, generation.learnt)


def current(home: Path) -> str:
    """Name of the generation in service. Raises HomeError."""
    try:
        return (home / "current").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise HomeError(f"{home} has no generation in service: install the bundle into a new home") from None


def generations(home: Path) -> list[str]:
    """Names of all generations, oldest first."""
    found = (p for p in (home / "generations").iterdir() if not p.name.startswith("."))
    return sorted(p.name for p in found if p.suffix != REJECTED and (p / "generation.json").is_file())


def rejected(home: Path) -> list[str]:
    """Names of all generations that were not fit to serve, oldest first."""
    return sorted(p.stem for p in (home / "generations").glob(f"[!.]*{REJECTED}"))


def next_generation(home: Path) -> str:
    """Name of the generation that an update would make: later than all there are, rejected or rolled back from."""
    return f"{max(map(int, generations(home) + rejected(home))) + 1:04d}"


class Judgement(NamedTuple):
    """Whether a generation that was written is fit to serve, and its report."""

    promoted: bool
    report: Mapping[str, Any]


def add_generation(
    home: Path,
    parent: Generation,
    models: Models,
    judge: Callable[[Generation], Judgement],
    pictures: Mapping[str, bytes] | None = None,
) -> Generation:
    """Write `models` and `pictures` as a new generation, which serves if `judge`, who sees it by name, promotes it.

    Otherwise it is among those rejected. Raises StorageError; nothing is changed then.
    """
    name = next_generation(home)
    contents = models.files() | dict(pictures or {})
    generation = Generation(
        name=name,
        bundle=parent.bundle,
        parent=parent.name,
        created=journal.now(),
        classes=models.classes,
        files={path: fingerprint(content) for path, content in contents.items()},
        learnt=models.learnt,
    )
    target = home / "generations" / name
    before = current(home)
    try:
        with disk.storage_errors(target):
            place(home, generation, contents.__getitem__)
            judgement = judge(generation)
            disk.replace(target / "report.json", _as_json(judgement.report))
            if judgement.promoted:
                put_in_service(home, name)
            else:
                disk.rename(target, target.with_name(name + REJECTED))
                disk.sync_folder(target.parent)
    except StorageError:
        with contextlib.suppress(OSError):
            put_back(home, before)
            disk.remove(disk.partial(target))
            for written in (target, target.with_name(name + REJECTED)):
                disk.remove_whole(written)
        raise
    return generation


def place(home: Path, generation: Generation, content: Callable[[str], bytes]) -> None:
    """Write the files of `generation` into a folder of its name, and read them back. Raises OSError, StorageError."""

    def write(folder: Path) -> None:
        for name in generation.files:
            disk.write(folder / name, content(name))
        disk.write(folder / "generation.json", _as_json(generation.to_json()))

    disk.write_whole(home / "generations" / generation.name, write)
    _verify(home, generation)


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
    """Remove all but the `keep` newest generations, never the one in service nor its parent, and of those rejected.

    Raises StorageError.
    """
    serving = read_generation(home)
    old = [name for name in generations(home)[:-keep] if name not in {serving.name, serving.parent}]
    for name in old + [name + REJECTED for name in rejected(home)[:-keep]]:
        with disk.storage_errors(home / "generations" / name):
            disk.remove_whole(home / "generations" / name)


def collect_bundles(home: Path) -> None:
    """Remove the bundles that no generation is of; none while the record of one cannot be read. Raises OSError."""
    try:
        used = {read_generation(home, path.name).bundle for path in (home / "generations").iterdir()}
    except HomeError:
        return
    for path in (home / "bundles").iterdir():
        if path.name not in used:
            disk.remove_whole(path)


def discard(home: Path, name: str) -> None:
    """Remove a generation that is not in service. Raises OSError.

    The pointer is written anew first: after a sync that failed, the disk might name `name`, whatever is read now.
    """
    target = home / "generations" / name
    if target.exists() and current(home) != name:
        put_in_service(home, current(home))
        disk.remove_whole(target)


def read_report(home: Path, name: str) -> dict[str, Any] | None:
    """The report of generation `name`, in service or rejected; None for generation 0 and for those that went.

    Raises BundleError if it is damaged.
    """
    path = _folder(home, name) / "report.json"
    if not path.exists():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = None
    if not isinstance(report, dict):
        raise BundleError(f"{path} is damaged: the generation itself is not affected")
    return report


def read_picture(home: Path, generation: Generation) -> bytes | None:
    """The PNG file of its synthesised inputs; None where there is none. Raises BundleError if it is damaged."""
    record = generation.files.get(SYNTHESISED)
    return None if record is None else read_verified(_folder(home, generation.name), SYNTHESISED, record)


def _folder(home: Path, name: str) -> Path:
    """Where generation `name` lies, rejected or not."""
    rejected_folder = home / "generations" / (name + REJECTED)
    return rejected_folder if rejected_folder.exists() else home / "generations" / name


def require_space(home: Path, needed: int) -> None:
    """Raise StorageError unless `needed` bytes are free where `home` lies."""
    free = shutil.disk_usage(home).free
    if free < needed:
        raise StorageError(
            f"no space left for a new generation in {home}: {free >> 20} MB are free, {needed >> 20} MB are needed"
        )


def _as_json(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode()


def _verify(home: Path, generation: Generation) -> None:
    """Read back what was written. Raises StorageError where the disk does not give it back."""
    try:
        for name, record in generation.files.items():
            read_verified(home / "generations" / generation.name, name, record)
    except BundleError as error:
        raise StorageError(f"the disk does not keep what is written to it ({error}): replace it") from error


def put_back(home: Path, name: str) -> None:
    """Let `current` name `name` again, at least until the next start. Raises OSError unless that is durable."""
    if current(home) != name:
        try:
            put_in_service(home, name)
        except OSError:
            work = disk.partial(home / "current")
            work.write_text(name, encoding="utf-8")
            work.replace(home / "current")
            raise

"""A bundle becomes a home: generation 0 from what the provider exported, whole or not at all."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.sources import Accepted, Source, accept, open_source, read_part
from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.errors import HomeError
from reverie.device_runtime.home import disk, journal, sealing
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.home.layout import KEY, LAYOUT, LOCK, MARK, locked, open_home
from reverie.device_runtime.home.store import Generation, current, discard, place

INSTALLING = ".home.partial"
"""In a directory that is becoming a home: what is there was left by an installation that was cut off."""

BEGUN, INSTALLED = "installation begun", "installed"
"""Events of the audit log."""


def install(path: Path, home: Path, key: bytes | None = None, sealing_key: str | None = None) -> Generation:
    """Copy the bundle at `path`, a folder or a zip file, into `home` and put generation 0 into service.

    A home that does not exist is made; one that has a generation in service already is refused. Every file is
    checked on the way, and with a public `key` the signature; the home remembers that key. With a `sealing_key`, the
    path of a file in the home or elsewhere, what holds pixels will be sealed; it is made if it is not there. The mark
    of a home is written last. Raises BundleError, HomeError, StorageError; nothing is left behind.
    """
    home = home.resolve()
    _require_unused(home)
    with open_source(path) as source:
        accepted = accept(source, key, installed_engine().operators)
        generation = first_generation(accepted, "0000", None)

        def write_home() -> None:
            disk.write(home / INSTALLING, b"")
            disk.sync_folder(home)
            _remove_all(home)
            for name in ("bundles", "generations"):
                disk.make_folder(home / name)
            add_bundle(home, source, accepted)
            place(home, generation, lambda name: read_part(source, name, accepted.manifest.files[name]))
            with contextlib.closing(Journal(home)) as opened:
                opened.note(INSTALLED, **facts_of(accepted, generation, key))
            if key is not None:
                disk.write(home / KEY, key)
            disk.write(home / "current", generation.name.encode())
            disk.sync_folder(home)
            disk.sync_folder(home.parent)
            if sealing_key is not None:
                sealing.make_key(home / sealing_key)
            mark = {"layout": LAYOUT} | ({"key": sealing_key} if sealing_key is not None else {})
            disk.replace(home / MARK, json.dumps(mark).encode())

        made = not home.exists()
        with disk.storage_errors(home):
            _make_folders(home)
            disk.make_private(home)
            with locked(home):
                _require_unused(home)
                try:
                    write_home()
                except BaseException:
                    with contextlib.suppress(OSError):
                        _remove_all(home)
                        for left in (home / LOCK, home / INSTALLING, *([home] if made else [])):
                            disk.remove(left)
                    raise
                with contextlib.suppress(OSError):  # else it is a leftover that the next change collects
                    disk.remove(home / INSTALLING)
    return generation


def first_generation(accepted: Accepted, name: str, parent: str | None) -> Generation:
    """The record of a generation that is what a bundle holds, with nothing learnt yet."""
    manifest = accepted.manifest
    files = {name: manifest.files[name] for name in manifest.changing}
    return Generation(name, accepted.identity, parent, journal.now(), manifest.classes, files)


def add_bundle(home: Path, source: Source, accepted: Accepted) -> None:
    """Copy a bundle into `home`, whole or not at all, unless it is there. Raises OSError, BundleError."""
    target = home / "bundles" / accepted.identity
    if target.exists():
        return

    def write(folder: Path) -> None:
        for name, record in accepted.manifest.files.items():
            _make_folders((folder / name).parent)
            disk.write(folder / name, read_part(source, name, record))
        for name, content in accepted.own_files.items():
            disk.write(folder / name, content)
        for inner in sorted(p for p in folder.rglob("*") if p.is_dir()):
            disk.sync_folder(inner)

    disk.write_whole(target, write)


def facts_of(accepted: Accepted, generation: Generation, key: bytes | None) -> dict[str, Any]:
    """What the audit log says of an installation, with the key that counts from then on."""
    manifest = accepted.manifest
    return {
        "generation": generation.name,
        "parent": generation.parent,
        "bundle": accepted.identity,
        "name": manifest.name,
        "family": manifest.family,
        "made": manifest.created,
        "key": None if key is None else signing.key_id(key),
    }


def settle(home: Path, opened: Journal) -> None:
    """Note the end of an installation in a home that serves: what was written counts if the pointer names it.

    Raises OSError, StorageError.
    """
    last = opened.last_entry()
    if last is None or last.event != BEGUN:
        return
    facts = json.loads(last.facts)
    if current(home) == facts["generation"]:
        opened.note(INSTALLED, **facts)
    else:
        discard(home, facts["generation"])
        opened.note("installation undone", generation=facts["generation"])


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

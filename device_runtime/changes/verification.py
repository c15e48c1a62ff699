"""Is all that lies in a bundle or a home what was put there? Every hash, signature, model and audit entry."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.contents import read_manifest, read_verified
from reverie.device_runtime.bundle.manifest import Manifest
from reverie.device_runtime.bundle.sources import Accepted, Folder, accept, check_part, open_source
from reverie.device_runtime.changes import installation
from reverie.device_runtime.changes.upgrade import trusted_key
from reverie.device_runtime.errors import HomeError
from reverie.device_runtime.frames.frame_store import FrameStore
from reverie.device_runtime.home import audit, store
from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.home.journal import FILE, Journal
from reverie.device_runtime.home.layout import UPDATE, locked, open_home


@dataclass(frozen=True)
class Verified:
    """What was looked at: files, generations, entries of the audit log, and the key that signs what is taken now."""

    files: int
    generations: tuple[str, ...] = ()
    entries: int = 0
    key: str | None = None


def verify_bundle(path: Path, key: bytes | None) -> tuple[Manifest, Verified]:
    """Check a bundle, a folder or a zip file, and with a public `key` its signature. Raises BundleError."""
    with open_source(path) as source:
        accepted = accept(source, key)
    return accepted.manifest, Verified(len(accepted.manifest.files), key=_name(key))


def verify_home(home: Path) -> Verified:
    """Check all bundles and generations of `home`, its stored update and frames, and its audit log; nothing is changed.

    Raises HomeError, BundleError, FramesError naming the first thing wrong, BusyError while another command changes it.
    """
    with locked(open_home(home)):
        return _verified(home)


def _verified(home: Path) -> Verified:
    key = trusted_key(home)
    store.read_generation(home)
    names = tuple(store.generations(home))
    log = _verified_log(home, _name(key))
    before_the_key = _installed(log, signed=False) - _installed(log, signed=True)
    bundles: dict[str, Accepted] = {}
    files = 0
    for name in names:
        generation = store.read_generation(home, name)
        folder = home / "bundles" / generation.bundle
        if generation.bundle not in bundles:
            bundles[generation.bundle] = accept(Folder(folder), None if generation.bundle in before_the_key else key)
            files += len(bundles[generation.bundle].manifest.files)
            read_manifest(folder, generation.bundle)
        for file, record in generation.files.items():
            where = home / "generations" / name
            content = read_verified(where, file, record)
            check_part(bundles[generation.bundle].manifest, file, content, where / file)
        files += len(generation.files)
        store.read_report(home, name)
    return Verified(files, names, len(log), _name(key))


def _verified_log(home: Path, key: str | None) -> list[audit.Entry]:
    """The audit log, checked, and with it the states and frames that the journal names. Empty where there is none."""
    if not (home / FILE).exists():
        return []
    with closing(Journal(home)) as journal:
        Checkpoints(home / UPDATE, journal).require_whole()
        frames = FrameStore(home, journal)
        for frame in frames.frames():
            frames.content(frame)
        log = journal.audit_log()
    broken = audit.first_broken(log)
    if broken is not None:
        raise HomeError(f"the audit log of {home} was altered at entry {broken}: do not rely on it from there on")
    trusted = [entry.to_json()["facts"].get("key") for entry in log if entry.event == installation.INSTALLED]
    if any(trusted) and trusted[-1] != key:
        raise HomeError(f"{home} was told to trust the key {trusted[-1]}, which is not the one in it: put it back")
    return log


def _installed(log: Iterable[audit.Entry], signed: bool) -> set[str]:
    """Bundles that were installed with a key that had signed them, or without one."""
    facts = [entry.to_json()["facts"] for entry in log if entry.event == installation.INSTALLED]
    return {fact["bundle"] for fact in facts if (fact.get("key") is not None) == signed}


def _name(key: bytes | None) -> str | None:
    return None if key is None else signing.key_id(key)

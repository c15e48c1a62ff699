"""A newer bundle in a home that serves already: a new generation from it, as a transaction like an update."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.sources import Accepted, Source, accept, open_source, read_part
from reverie.device_runtime.changes import installation
from reverie.device_runtime.changes.transaction import REPORT_BYTES, changing
from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.errors import BundleError, HomeError, SignatureError, StorageError
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.home.layout import KEY, MARK, open_home
from reverie.device_runtime.home.store import KEEP, Generation
from reverie.device_runtime.serving import probation
from reverie.device_runtime.serving.probation import Standing


@dataclass(frozen=True)
class Consent:
    """What whoever installs a bundle agrees to: `downgrade` to an older one, `replace` what was learnt here."""

    downgrade: bool = False
    replace: bool = False


def install(
    path: Path,
    home: Path,
    key: bytes | None = None,
    consent: Consent | None = None,
    sealing_key: str | None = None,
) -> Generation:
    """Put the bundle at `path` into service in `home`, new or not. Raises what installing and `upgrade` raise."""
    if (home / MARK).exists():
        if sealing_key is not None:
            raise HomeError(f"{home} is there already: whether a home is sealed is chosen when it is made")
        with changing(home) as journal:
            return upgrade(path, home, journal, key, consent or Consent())
    return installation.install(path, home, key, sealing_key)


def upgrade(path: Path, home: Path, journal: Journal, key: bytes | None, consent: Consent) -> Generation:
    """A new generation from the bundle at `path`, whose parent is the one in service; that one stays until then.

    Raises UpdateError while an update is in progress; SignatureError where the home's key, or `key` if it has none
    yet, did not sign the bundle; BundleError where it is of another family, is older than what is there, or lacks
    classes that were learnt, without `consent`; StorageError. Nothing is changed then.
    """
    journal.require_no_update("before you install another bundle")
    key = _key_that_counts(home, key)
    with open_source(path) as source:
        accepted = accept(source, key, installed_engine().operators)
        serving = store.read_generation(home)
        _require_successor(home, path, accepted, serving, consent)
        sizes = [record.size for record in accepted.manifest.files.values()]
        store.require_space(home, 2 * sum(sizes) + REPORT_BYTES)
        generation = installation.first_generation(accepted, store.next_generation(home), serving.name)
        _put_in_service(home, journal, source, accepted, generation, key)
    return generation


def trusted_key(home: Path) -> bytes | None:
    """The public key that `home` was given, None if none was. Raises SignatureError if it cannot be read."""
    path = open_home(home) / KEY
    return signing.read_public_key(path) if path.exists() else None


def _key_that_counts(home: Path, given: bytes | None) -> bytes | None:
    known = trusted_key(home)
    if known is not None and given is not None and signing.key_id(known) != signing.key_id(given):
        raise SignatureError(
            f"{home} trusts the key {signing.key_id(known)} and not {signing.key_id(given)}: leave --key away, "
            "or install into a new home"
        )
    return known or given


def _require_successor(home: Path, path: Path, accepted: Accepted, serving: Generation, consent: Consent) -> None:
    """Raise BundleError unless the bundle may take the place of what is there."""
    manifest = accepted.manifest
    there = read_manifest(home / "bundles" / serving.bundle, serving.bundle)
    if manifest.family != there.family:
        raise BundleError(
            f"{path} is of the family {manifest.family!r}, {home} holds {there.family!r}: install it into another home"
        )
    newest = max((read_manifest(bundle, bundle.name) for bundle in _bundles(home)), key=lambda found: found.made)
    if manifest.made < newest.made and not consent.downgrade:
        raise BundleError(
            f"{path} was made {manifest.created}, before what {home} has ({newest.created}): "
            "install a newer one, or say --allow-downgrade"
        )
    if accepted.identity == serving.bundle and not consent.replace:
        raise HomeError(
            f"{home} serves generation {serving.name} already, of this very bundle: "
            "say --replace to begin again from it"
        )
    lost = [label for label in serving.classes if label not in manifest.classes]
    if lost and not consent.replace:
        raise BundleError(
            f"{path} does not know {', '.join(lost)}, which {home} serves: "
            "they would be lost; say --replace to let them go"
        )


def _bundles(home: Path) -> Iterable[Path]:
    return (path for path in (home / "bundles").iterdir() if not disk.is_leftover(path))


def _put_in_service(
    home: Path, journal: Journal, source: Source, accepted: Accepted, generation: Generation, key: bytes | None
) -> None:
    """Write all of it, and then the pointer. Raises StorageError; what was in service stays then."""
    before = store.current(home)
    files = accepted.manifest.files
    try:
        with disk.storage_errors(home):
            journal.note(installation.BEGUN, **installation.facts_of(accepted, generation, key))
            installation.add_bundle(home, source, accepted)
            store.place(home, generation, lambda name: read_part(source, name, files[name]))
            if key is not None and not (home / KEY).exists():
                disk.replace(home / KEY, key)
            probation.begin(home, Standing(generation.name, generation.parent, 0, KEEP))
            store.put_in_service(home, generation.name)
        store.confirm(home)
    except BaseException:
        with contextlib.suppress(OSError, StorageError):
            store.put_back(home, before)
            installation.settle(home, journal)
            store.collect_bundles(home)
        raise
    with contextlib.suppress(OSError, StorageError):  # what cannot be noted or removed now goes with the next change
        installation.settle(home, journal)
        store.retire(home, KEEP)
        store.collect_bundles(home)

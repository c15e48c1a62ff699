"""A newer bundle in a home that serves: the next generation, of the same family, signed and not older, or nothing."""

from __future__ import annotations

import json

import pytest
from judged import serves

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.manifest import SIGNATURE
from reverie.device_runtime.changes import transaction
from reverie.device_runtime.changes.transaction import changing
from reverie.device_runtime.changes.upgrade import Consent, install, trusted_key
from reverie.device_runtime.changes.verification import verify_home
from reverie.device_runtime.errors import (
    BundleError,
    BusyError,
    HomeError,
    ReverieError,
    SignatureError,
    StorageError,
    UpdateError,
)
from reverie.device_runtime.home import audit, store
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.home.layout import locked
from reverie.device_runtime.method.monitor import StageRecord
from reverie.device_runtime.serving.rollback import roll_back

NEWER, OLDER = "2026-02-01T00:00:00+00:00", "2025-12-01T00:00:00+00:00"


@pytest.fixture
def newer(own_bundle, edit_manifest):
    edit_manifest(own_bundle, created=NEWER, classes=["sandal", "t-shirt", "trouser", "bag"])
    return own_bundle


@pytest.fixture
def learnt(home, grown):
    """The home after an update that learnt two classes."""
    store.add_generation(home, store.read_generation(home), grown, serves({"a": 1}))
    return home


@pytest.fixture
def refused(tree):
    """Installing raises the error with these words, and changes nothing but the journal."""

    def check(kind, says, path, home, **how):
        before = {name: digest for name, digest in tree(home).items() if "journal" not in name}
        with pytest.raises(kind, match=says) as error:
            install(path, home, **how)
        assert "\n" not in str(error.value)
        assert {name: digest for name, digest in tree(home).items() if "journal" not in name} == before

    return check


def log(home):
    journal = Journal(home)
    try:
        entries = journal.audit_log()
    finally:
        journal.close()
    assert audit.first_broken(entries) is None
    return [(entry.event, json.loads(entry.facts)) for entry in entries]


def test_a_newer_bundle_is_the_next_generation_and_the_older_one_stays(home, newer, bundle):
    generation = install(newer, home)
    assert (generation.name, generation.parent) == ("0001", "0000")
    assert generation.classes == ("sandal", "t-shirt", "trouser", "bag")
    assert store.current(home) == "0001"
    assert store.generations(home) == ["0000", "0001"]
    assert store.read_generation(home, "0000").classes == read_manifest(bundle).classes
    assert len(list((home / "bundles").iterdir())) == 2
    assert store.load_models(home, generation).manifest.created == NEWER
    events = log(home)
    assert [event for event, _ in events] == ["installed", "installation begun", "installed"]
    assert events[-1][1]["made"] == NEWER
    assert verify_home(home).generations == ("0000", "0001")


def test_an_update_goes_on_from_the_newer_bundle(home, newer, frames, quick):
    install(newer, home)
    with transaction.changing(home) as journal:
        transaction.begin(home, journal, frames, quick, StageRecord())
        generation = transaction.go_on(home, journal)
    assert (generation.name, generation.parent) == ("0002", "0001")
    assert set(generation.classes) == {"sandal", "t-shirt", "trouser", "bag", "sneaker"}


def test_bundles_that_no_generation_is_of_go_with_it(home, own_bundle, edit_manifest):
    for month in range(2, 8):
        edit_manifest(own_bundle, created=f"2026-{month:02d}-01T00:00:00+00:00")
        install(own_bundle, home)
    assert store.generations(home) == ["0004", "0005", "0006"]
    used = {store.read_generation(home, name).bundle for name in store.generations(home)}
    assert {path.name for path in (home / "bundles").iterdir()} == used
    assert len(used) == 3


def test_no_bundle_is_collected_while_a_generation_cannot_be_read(home, newer):
    install(newer, home)
    (home / "generations/0000/generation.json").unlink()
    with transaction.changing(home):
        pass
    assert len(list((home / "bundles").iterdir())) == 2


def test_another_family_is_refused(home, newer, edit_manifest, refused):
    edit_manifest(newer, family="doors")
    refused(BundleError, "is of the family 'doors', .* holds 'format-2'", newer, home)


def test_a_bundle_under_another_name_belongs_to_the_family_that_it_states(home, newer, edit_manifest):
    edit_manifest(newer, family="format-2", name="spring")
    assert install(newer, home).name == "0001"


def test_an_older_bundle_is_refused_unless_asked_for(home, own_bundle, edit_manifest, refused):
    edit_manifest(own_bundle, created=OLDER)
    refused(BundleError, "was made 2025-12-01.*, before what .* has.*--allow-downgrade", own_bundle, home)
    assert install(own_bundle, home, consent=Consent(downgrade=True)).name == "0001"


def test_what_is_newest_counts_also_when_an_older_one_serves(home, newer, own_bundle, edit_manifest, refused):
    install(newer, home)
    with changing(home) as journal:
        roll_back(home, journal)
    assert store.current(home) == "0000"
    edit_manifest(own_bundle, created="2026-01-15T00:00:00+00:00")
    refused(BundleError, "before what", own_bundle, home)


def test_classes_that_were_learnt_are_not_lost_unless_that_is_said(learnt, newer, refused):
    refused(BundleError, "does not know sneaker, which .* serves.*--replace", newer, learnt)
    assert install(newer, learnt, consent=Consent(replace=True)).classes == ("sandal", "t-shirt", "trouser", "bag")


def test_the_very_same_bundle_is_refused_unless_asked_for(learnt, bundle, refused):
    refused(HomeError, "serves generation 0001 already, of this very bundle", bundle, learnt)
    generation = install(bundle, learnt, consent=Consent(replace=True))
    assert (generation.name, generation.parent, generation.classes) == ("0002", "0001", read_manifest(bundle).classes)


def test_while_an_update_is_in_progress_nothing_is_installed(home, newer, frames, quick, refused):
    with transaction.changing(home) as journal:
        transaction.begin(home, journal, frames, quick, StageRecord())
    refused(UpdateError, "an update of .* is in progress: finish it", newer, home)


def test_while_another_command_changes_the_home_nothing_is_installed(home, newer, refused):
    with locked(home):
        refused(BusyError, "another command is changing", newer, home)


def test_without_space_nothing_is_installed(home, newer, monkeypatch, refused):
    free = store.shutil.disk_usage(home)._replace(free=1 << 20)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _path: free)
    refused(StorageError, "1 MB are free", newer, home)


def test_a_home_with_a_key_takes_nothing_unsigned_nothing_altered_and_nothing_of_another(
    own_bundle, tmp_path, keys, sign, edit_manifest, refused
):
    home, public = tmp_path / "home", (keys / "provider.pub").read_bytes()
    with pytest.raises(SignatureError, match="is not signed"):
        install(own_bundle, home, public)
    assert not home.exists()
    sign(own_bundle)
    install(own_bundle, home, public)
    assert trusted_key(home) == public
    edit_manifest(own_bundle, created=NEWER)
    refused(SignatureError, "is not signed by the key", own_bundle, home)
    sign(own_bundle, "somebody")
    refused(SignatureError, "is not signed by the key", own_bundle, home)
    refused(SignatureError, "trusts the key", own_bundle, home, key=(keys / "somebody.pub").read_bytes())
    (own_bundle / SIGNATURE).unlink()
    refused(SignatureError, "is not signed", own_bundle, home, consent=Consent(downgrade=True, replace=True))
    sign(own_bundle)
    assert install(own_bundle, home).name == "0001"
    assert verify_home(home).key == signing.key_id(public)


def test_a_home_that_serves_can_be_given_a_key(home, newer, keys, sign, refused):
    public = (keys / "provider.pub").read_bytes()
    refused(SignatureError, "is not signed", newer, home, key=public)
    assert trusted_key(home) is None
    sign(newer)
    install(newer, home, public)
    assert trusted_key(home) == public
    assert log(home)[-1][1]["key"] == signing.key_id(public)
    assert verify_home(home).key == signing.key_id(public)  # the older bundle was installed before there was a key


def test_what_cannot_be_loaded_does_not_stay_in_service(home, newer, monkeypatch):
    """The new generation is written, but the disk gives back something else when it is loaded for service."""

    def broken(_home):
        raise BundleError("it does not load")

    with monkeypatch.context() as patch:
        patch.setattr(store, "confirm", broken)
        with pytest.raises(ReverieError, match="does not load"):
            install(newer, home)
    assert store.current(home) == "0000"
    assert store.generations(home) == ["0000"]
    assert len(list((home / "bundles").iterdir())) == 1
    assert log(home)[-1] == ("installation undone", {"generation": "0001"})
    assert install(newer, home).name == "0001"

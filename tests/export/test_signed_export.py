"""`reverie export` signs, packs and states the family; a box with the public key takes what comes out."""

from __future__ import annotations

import dataclasses
import shutil
import zipfile

import pytest
from workstation_support import EPOCH, TINY, example_networks

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.manifest import MANIFEST, SIGNATURE
from reverie.device_runtime.changes.upgrade import install
from reverie.device_runtime.changes.verification import verify_bundle, verify_home
from reverie.device_runtime.errors import SignatureError
from reverie.device_runtime.home import store
from reverie.export.exporter import export_bundle

pytestmark = pytest.mark.slow


def silent(_):
    pass


@pytest.fixture(scope="module")
def signed(keys, tmp_path_factory):
    """A signed bundle of a family, as a zip file."""
    path = tmp_path_factory.mktemp("signed") / "tiny-2.zip"
    networks = dataclasses.replace(example_networks(TINY), family="doors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        export_bundle(networks, path, silent, keys / "provider")
    assert [p.name for p in path.parent.iterdir()] == ["tiny-2.zip"]
    return path


def test_a_zip_holds_what_the_folder_holds_and_the_signature_of_its_manifest(signed, exported, keys):
    folder = exported(TINY).folder
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with zipfile.ZipFile(signed) as packed:
        held = {name: packed.read(name) for name in packed.namelist()}
        assert {member.compress_type for member in packed.infolist()} == {zipfile.ZIP_STORED}
    signing.check(held[MANIFEST], held.pop(SIGNATURE), (keys / "provider.pub").read_bytes(), "the zip")
    differing = {name for name in held if held[name] != files[name]}
    assert held.keys() == files.keys()
    assert differing == {MANIFEST}  # for its family


def test_a_box_with_the_key_takes_the_zip_and_then_the_next(signed, exported, keys, sign, edit_manifest, tmp_path):
    home, public = tmp_path / "home", (keys / "provider.pub").read_bytes()
    manifest, verified = verify_bundle(signed, public)
    assert (manifest.family, manifest.name, verified.key) == ("doors", "tiny", signing.key_id(public))
    assert install(signed, home, public).name == "0000"
    newer = shutil.copytree(exported(TINY).folder, tmp_path / "newer")
    edit_manifest(newer, family="doors")
    sign(newer)
    assert install(newer, home).name == "0001"
    assert verify_home(home).generations == ("0000", "0001")
    assert read_manifest(home / "bundles" / store.read_generation(home, "0000").bundle) == manifest


def test_the_same_networks_make_the_same_zip(signed, keys, tmp_path):
    networks = dataclasses.replace(example_networks(TINY), family="doors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
        export_bundle(networks, tmp_path / "other.zip", silent, keys / "provider")
    assert (tmp_path / "other.zip").read_bytes() == signed.read_bytes()


def test_without_a_family_it_is_the_name(exported):
    manifest = read_manifest(exported(TINY).folder)
    assert manifest.family == manifest.name == "tiny"


def test_a_key_that_cannot_sign_is_told_before_the_work(keys, tmp_path):
    reached = []
    with pytest.raises(SignatureError, match=r"provider\.pub holds no private Ed25519 key"):
        export_bundle(example_networks(TINY), tmp_path / "bundle", reached.append, keys / "provider.pub")
    assert not reached
    assert not list(tmp_path.iterdir())


def test_the_command_states_family_key_and_zip(own, keys):
    """As the README has it."""
    own.export(output="own.zip", family="doors", key=str(keys / "provider"))
    manifest, _ = verify_bundle(own.folder / "own.zip", (keys / "provider.pub").read_bytes())
    assert (manifest.name, manifest.family) == ("own", "doors")

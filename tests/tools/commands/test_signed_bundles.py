"""keygen, sign, verify and install, from the provider's desk to the box."""

from __future__ import annotations

import json
import stat
import subprocess

import pytest

from reverie.device_runtime.bundle.manifest import MANIFEST
from reverie.export.packing import pack

NEWER = "2026-02-01T00:00:00+00:00"


@pytest.fixture
def provider(reverie, tmp_path):
    """A fresh private key and its public one."""
    done = reverie("keygen", tmp_path / "provider")
    assert (done.code, done.err) == (0, "")
    return tmp_path / "provider", tmp_path / "provider.pub"


def test_a_private_key_is_for_its_owner_alone_and_no_key_is_ever_overwritten(reverie, provider, tmp_path):
    private, public = provider
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE KEY" in private.read_bytes()
    assert b"PUBLIC KEY" in public.read_bytes()
    before = private.read_bytes(), public.read_bytes()
    assert f"{private} exists already" in reverie("keygen", private).err
    private.rename(tmp_path / "elsewhere")
    assert reverie("keygen", private).code == 1
    assert not private.exists()
    public.unlink()
    private.write_bytes(b"mine")
    assert reverie("keygen", private).code == 1
    assert private.read_bytes() == b"mine"
    assert (tmp_path / "elsewhere").read_bytes() == before[0]


def test_a_signed_bundle_goes_all_the_way_and_an_unsigned_one_does_not(reverie, provider, own_bundle, bundle, tmp_path):
    private, public = provider
    home = tmp_path / "home"
    assert "is not signed" in reverie("verify", own_bundle, "--key", public).err
    assert reverie("sign", own_bundle, "--key", private).code == 0
    assert "18 files match their hashes; signed by " in reverie("verify", own_bundle, "--key", public).out
    assert reverie("install", own_bundle, "--home", home, "--key", public).code == 0
    assert "signed by" in reverie("verify", home).out
    refused = reverie("install", bundle, "--home", home)
    assert (refused.code, "is not signed" in refused.err) == (1, True)


def test_openssl_reads_key_and_signature(reverie, provider, own_bundle):
    private, public = provider
    reverie("sign", own_bundle, "--key", private)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"]
    command += ["-in", own_bundle / MANIFEST, "-sigfile", own_bundle / "manifest.sig"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert done.returncode == 0, done.stderr


def test_a_zip_file_does_what_its_folder_does(reverie, bundle, tmp_path, tree, home):
    path = tmp_path / "bundle.zip"
    pack(bundle, path)
    pack(bundle, tmp_path / "again.zip")
    assert path.read_bytes() == (tmp_path / "again.zip").read_bytes()
    done = reverie("install", path, "--home", tmp_path / "from-zip")
    assert done.code == 0, done.err
    assert tree(tmp_path / "from-zip/bundles") == tree(home / "bundles")
    for verb in ("inspect", "verify"):
        ours, theirs = reverie(verb, path, "--json"), reverie(verb, bundle, "--json")
        assert (ours.code, ours.out) == (0, theirs.out)


def test_a_newer_bundle_is_installed_with_what_is_lost_said_twice(reverie, own_bundle, edit_manifest, home):
    edit_manifest(own_bundle, created=NEWER, classes=["sandal", "t-shirt"])
    refused = reverie("install", own_bundle, "--home", home)
    assert "does not know trouser" in refused.err
    done = reverie("install", own_bundle, "--home", home, "--replace", "--json")
    assert json.loads(done.out)["name"] == "0001"
    edit_manifest(own_bundle, created="2025-01-01T00:00:00+00:00")
    assert "--allow-downgrade" in reverie("install", own_bundle, "--home", home).err
    assert reverie("install", own_bundle, "--home", home, "--allow-downgrade").code == 0
    status = json.loads(reverie("status", "--home", home, "--json").out)
    assert (status["name"], status["generations"]) == ("0002", ["0000", "0001", "0002"])
    assert json.loads(reverie("verify", home, "--json").out)["entries"] == 5


def test_what_is_neither_bundle_nor_home_is_not_verified(reverie, tmp_path, home, provider):
    assert f"{tmp_path}/nothing does not exist" in reverie("verify", tmp_path / "nothing").err
    assert "is no bundle" in reverie("verify", tmp_path).err
    assert reverie("verify", home, "--key", provider[1]).code == 2

"""Keys and signatures for tests; `tests/conftest.py` gives them to all."""

from __future__ import annotations

import pytest

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.manifest import MANIFEST, SIGNATURE


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """A folder with two pairs of keys: of the provider, and of somebody else."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("provider", "somebody"):
        private, public = signing.make_keys()
        (folder / name).write_bytes(private)
        (folder / f"{name}.pub").write_bytes(public)
    return folder


@pytest.fixture(scope="session")
def sign(keys):
    """Sign a bundle folder with one of the keys."""

    def write(folder, name="provider"):
        (folder / SIGNATURE).write_bytes(signing.sign((folder / MANIFEST).read_bytes(), keys / name))

    return write

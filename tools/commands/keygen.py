"""`reverie keygen`: a pair of keys that signs bundles."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command("keygen")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Write a new private key to FILE, for its owner alone, and the public key to FILE.pub.

    Neither may exist.
    """
    from reverie.device_runtime.bundle import signing
    from reverie.device_runtime.errors import SignatureError

    public_file = file.with_name(f"{file.name}.pub")
    for there in (file, public_file):
        if there.exists():
            raise SignatureError(f"{there} exists already: choose another name, since boxes may hold to that key")
    private, public = signing.make_keys()
    _write_new(file, private, 0o600)
    _write_new(public_file, public, 0o644)
    click.echo(f"{file} signs bundles: keep it secret and safe; give {public_file} to boxes ({signing.key_id(public)})")


def _write_new(file: Path, content: bytes, mode: int) -> None:
    """Write a file that does not exist. Raises OSError."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
        opened.write(content)

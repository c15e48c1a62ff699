"""`reverie verify`: is a bundle or a home what it was?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from reverie.tools.options import json_option


@click.command("verify")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="Public key that must have signed the bundle.")
@json_option
def command(path: Path, key: Path | None, as_json: bool) -> None:
    """Check every hash, model and signature of PATH: a bundle folder, its zip file, or a home with its audit log."""
    from reverie.device_runtime.bundle import signing
    from reverie.device_runtime.changes.verification import verify_bundle, verify_home
    from reverie.device_runtime.home.layout import MARK

    if (path / MARK).exists():
        if key is not None:
            raise click.UsageError("a home has its own key: leave --key away")
        verified = verify_home(path)
    else:
        _, verified = verify_bundle(path, signing.read_public_key(key) if key else None)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(verified)))
        return
    what = [f"{verified.files} files match their hashes"]
    if verified.generations:
        what += [
            f"generations {', '.join(verified.generations)}",
            f"{verified.entries} entries of the audit log unbroken",
        ]
    what.append(f"signed by {verified.key}" if verified.key else "signature not checked: no key")
    click.echo(f"{path}: {'; '.join(what)}")

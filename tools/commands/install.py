"""`reverie install`: bundle → home, generation 0."""

from __future__ import annotations

import json
from pathlib import Path

import click

from reverie.tools.options import home_option, json_option


@click.command("install")
@click.argument("bundle", type=click.Path(path_type=Path))
@home_option
@click.option(
    "--key", type=click.Path(path_type=Path), help="Public key that must have signed BUNDLE and all that follow it."
)
@click.option("--allow-downgrade", is_flag=True, help="Take a bundle that was made before what the home has.")
@click.option("--replace", is_flag=True, help="Let classes go that the home serves and BUNDLE does not know.")
@click.option("--encrypt", is_flag=True, help="New home: seal frames and what is made of them, with a key in the home.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="As --encrypt, with the key in this file outside the home; it is made if it is not there.",
)
@json_option
def command(
    bundle: Path,
    home: Path,
    key: Path | None,
    allow_downgrade: bool,
    replace: bool,
    encrypt: bool,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Verify BUNDLE, a folder or its zip file, and put it into a home.

    A new home serves it as generation 0. One that serves already must hold a bundle of the same family, and serves the
    new one as its next generation.
    """
    from reverie.device_runtime.bundle import signing
    from reverie.device_runtime.changes.upgrade import Consent, install

    public = signing.read_public_key(key) if key else None
    sealing_key = str(key_file.resolve()) if key_file else "key" if encrypt else None
    generation = install(bundle, home, public, Consent(allow_downgrade, replace), sealing_key)
    if as_json:
        click.echo(json.dumps(generation.to_json()))
    else:
        click.echo(f"{home} serves generation {generation.name}: {', '.join(generation.classes)}")

"""`reverie install`: bundle → home, generation 0."""

from __future__ import annotations

import json
from pathlib import Path

import click

from reverie.tools.options import home_option, json_option


@click.command("install")
@click.argument("bundle", type=click.Path(path_type=Path))
@home_option
@click.option("--encrypt", is_flag=True, help="Seal frames, and what is made of them, with a key in the home.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="As --encrypt, with the key in this file outside the home; it is made if it is not there.",
)
@json_option
def command(bundle: Path, home: Path, encrypt: bool, key_file: Path | None, as_json: bool) -> None:
    """Verify BUNDLE and put it into a new home."""
    from reverie.device_runtime import store

    inside = "key" if encrypt else None
    generation = store.install(bundle, home, sealing_key=inside if key_file is None else str(key_file.resolve()))
    if as_json:
        click.echo(json.dumps(generation.to_json()))
    else:
        click.echo(f"{home} serves generation {generation.name}: {', '.join(generation.classes)}")

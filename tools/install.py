"""`reverie install`: bundle → home, generation 0."""

from __future__ import annotations

import json
from pathlib import Path

import click

from reverie.tools.options import home_option, json_option


@click.command("install")
@click.argument("bundle", type=click.Path(path_type=Path))
@home_option
@json_option
def command(bundle: Path, home: Path, as_json: bool) -> None:
    """Verify BUNDLE and put it into a new home."""
    from reverie.device_runtime import store

    generation = store.install(bundle, home)
    if as_json:
        click.echo(json.dumps(generation.to_json()))
    else:
        click.echo(f"{home} serves generation {generation.name}: {', '.join(generation.classes)}")

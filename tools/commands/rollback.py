"""`reverie rollback`: put an earlier generation into service again."""

from __future__ import annotations

import json
from pathlib import Path

import click

from reverie.tools.options import home_option, json_option


@click.command("rollback")
@home_option
@click.option("--to", metavar="GENERATION", help="Generation to serve.  [default: the one before]")
@click.option("--why", default="", help="Reason, for the audit log.")
@json_option
def command(home: Path, to: str | None, why: str, as_json: bool) -> None:
    """Put the generation before the one in service, or another one, into service.

    Its files are verified first. The one that served stays and can be gone back to with --to.
    """
    from reverie.device_runtime.changes import transaction
    from reverie.device_runtime.serving.rollback import roll_back

    with transaction.changing(home) as journal:
        generation = roll_back(home, journal, to, why)
    if as_json:
        click.echo(json.dumps(generation.to_json()))
    else:
        click.echo(f"{home} now serves generation {generation.name}: {', '.join(generation.classes)}")

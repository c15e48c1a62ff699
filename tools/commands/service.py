"""`reverie service`: systemd units that update a home, without a network and with nothing else to write to."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import click

from reverie.tools.options import home_option
from reverie.tools.output_file import replace_output

UNITS = ("reverie-update.service", "reverie-update.timer")


@click.command("service")
@home_option
@click.option("--user", help="Who runs the update.  [default: the owner of the home]")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder such as /etc/systemd/system.")
def command(home: Path, user: str | None, output: Path) -> None:
    """Write the systemd units of HOME: one that updates it, one that goes on after a power cut."""
    from reverie.device_runtime.errors import HomeError
    from reverie.device_runtime.home.layout import open_home

    where = open_home(home).resolve()
    executable = Path(sys.executable).with_name("reverie")
    for path in (where, executable):
        if set(str(path)) & set(" \t%\"'\\$"):
            raise HomeError(f"{path} cannot stand in a systemd unit: use a path without spaces, quotes, % and $")
    values = {"home": where, "reverie": executable, "user": user or _owner(where)}
    for name in UNITS:
        text = files("reverie.tools").joinpath("systemd", name).read_text(encoding="utf-8")
        replace_output(output / name, text.format(**values))
        click.echo(f"wrote {output / name}")
    click.echo("next: systemctl daemon-reload, systemctl enable reverie-update.timer, systemctl start reverie-update")


def _owner(home: Path) -> str:
    from reverie.device_runtime.errors import HomeError

    try:
        return home.owner()
    except KeyError:
        raise HomeError(f"the owner of {home} has no name: say with --user who runs the update") from None

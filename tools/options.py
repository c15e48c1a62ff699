"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path

import click

home_option = click.option(
    "--home",
    envvar="REVERIE_HOME",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory that holds the box's state (or REVERIE_HOME).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for other programs.")
seed_option = click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1))


def comma_separated(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Callback for options such as `--classes cup,box`."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else ()


def dimensions(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Callback for options such as `--input-shape 3,32,32`."""
    if value is None:
        return None
    try:
        sizes = tuple(int(part) for part in value.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise click.BadParameter("write sizes separated by commas, such as 3,32,32")
    return sizes

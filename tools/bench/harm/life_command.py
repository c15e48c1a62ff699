"""`reverie bench life` as a command line."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console


@click.command("life")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path),
    help="Class-named folders of images, of classes that the bundle knows and of others, which come one by one.",
)
@click.option("--test-images", type=click.Path(path_type=Path), help="As of reverie bench harm.")
@click.option("--updates", default=30, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--even-without-gain",
    is_flag=True,
    help="Learn and serve what wins nothing too: the most that a home can be updated.",
)
@click.option("--markdown", is_flag=True, help="Print the table as a document takes it.")
def life_command(
    bundle: Path,
    images: Path,
    test_images: Path | None,
    updates: int,
    seed: int,
    even_without_gain: bool,
    markdown: bool,
) -> None:
    """Update one home again and again, in light that drifts; print what it then knows, and what it weighs.

    An update shows 40 frames of two classes; every tenth has a class that is new, and all come again.
    """
    from reverie.tools.bench import markdown as document
    from reverie.tools.bench.harm.images import find_files
    from reverie.tools.bench.harm.life import HEADINGS, live, to_rows
    from reverie.tools.bench.harm.tables import Table, print_table

    console = Console(stderr=True)
    lived = []
    for one in live(bundle, find_files(images, test_images), updates, seed, even_without_gain=even_without_gain):
        lived.append(one)
        console.print(" ".join(to_rows([one])[0]), one.why, highlight=False, soft_wrap=True, markup=False)
    if markdown:
        click.echo(document.table(HEADINGS, to_rows(lived)))
    else:
        print_table(Console(), Table(HEADINGS, to_rows(lived)))

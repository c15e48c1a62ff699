"""`reverie rehearse`: play updates with held-out images, and write what they teach into a bundle."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
from rich.console import Console

from reverie.tools.options import seed_option


@click.command("rehearse")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path),
    help="Class-named folders of images that pretraining has not seen, 20 or more of each class; classes that the "
    "bundle does not know are learnt as new ones.",
)
@click.option(
    "--max-minutes", default=15.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
    help="No update begins after that.",
)  # fmt: skip
@click.option("--key", type=click.Path(path_type=Path), help="Private key to sign with, where the bundle is signed.")
@seed_option
def command(bundle: Path, images: Path, max_minutes: float, key: Path | None, seed: int) -> None:
    """Play short updates as boxes will have them with the folder BUNDLE, honest and wrong ones.

    The truth about each is known here and on no box. What the gate's measures were where known classes really lost
    becomes bounds, and what of the method served best becomes its choices: both go into the bundle's manifest.
    """
    from reverie.tools.display import describe_rehearsal
    from reverie.tools.rehearsal.bundles import rehearse_bundle
    from reverie.tools.rehearsal.rehearse import rehearse

    console = Console(stderr=True)
    told = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    manifest = rehearse_bundle(
        bundle, key, lambda folder, found: rehearse(folder, found, images, max_minutes, seed, told)
    )
    for line in describe_rehearsal(manifest.rehearsal):
        click.echo(line)
    click.echo(f"written to {bundle}")

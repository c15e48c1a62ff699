"""`reverie bench harm` as a command line."""

from __future__ import annotations

import dataclasses
from itertools import product
from pathlib import Path

import click
from rich.console import Console


@click.command("harm")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--images",
    required=True,
    type=click.Path(path_type=Path),
    help="Class-named folders of images, of classes that the bundle knows and of others, which are new.",
)
@click.option(
    "--test-images",
    type=click.Path(path_type=Path),
    help="A folder of the same classes to test on.  [default: a fifth of the images, which no update is shown]",
)
@click.option("--kind", "kinds", multiple=True, help="A kind of update, as in the table.  [default: all]")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1))
@click.option("--output", type=click.Path(path_type=Path), help="Write figures as JSON; updates that are in it stay.")
@click.option("--markdown", is_flag=True, help="Print tables as a document takes them.")
def harm_command(
    bundle: Path,
    images: Path,
    test_images: Path | None,
    kinds: tuple[str, ...],
    seeds: int,
    output: Path | None,
    markdown: bool,
) -> None:
    """Play honest and wrong updates of many kinds, each on a new box; print what became of what serves.

    Each is taken in, learnt and judged as `reverie update` does it; the same test images are asked before and after.
    """
    from reverie.device_runtime.errors import ReverieError
    from reverie.tools.bench.harm.images import digest, find_files
    from reverie.tools.bench.harm.outcomes import load_outcomes, save_outcomes
    from reverie.tools.bench.harm.playing import KINDS, play_kinds
    from reverie.tools.bench.harm.tables import as_markdown, print_tables

    for kind in kinds:
        if kind not in KINDS:
            raise click.BadParameter(f"there is no kind {kind!r}: choose among {'; '.join(KINDS)}", param_hint="--kind")
    files = find_files(images, test_images)
    outcomes = load_outcomes(output) if output is not None and output.exists() else []
    settings = digest(bundle, files)
    if any(outcome.settings != settings for outcome in outcomes):
        raise ReverieError(f"{output} holds updates of another bundle or with other images: give another --output")
    done = {(outcome.kind, outcome.seed) for outcome in outcomes}
    wanted = [run for run in product(kinds or KINDS, range(seeds)) if run not in done]
    console = Console(stderr=True)
    for outcome in play_kinds(bundle, files, wanted):
        console.print(outcome.told(), highlight=False, soft_wrap=True, markup=False)
        outcomes.append(dataclasses.replace(outcome, settings=settings))
        if output is not None:
            save_outcomes(outcomes, output)
    order = {kind: at for at, kind in enumerate(KINDS)}
    outcomes.sort(key=lambda outcome: (order.get(outcome.kind, len(order)), outcome.seed))
    if markdown:
        click.echo(as_markdown(outcomes))
    else:
        print_tables(Console(), outcomes)

"""`reverie export`: torch networks → bundle."""

from __future__ import annotations

from pathlib import Path

import click

from reverie.tools.options import comma_separated, dimensions


@click.command("export")
@click.argument("pretrained", required=False, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Bundle folder to write.")
@click.option("--name", help="Name of the bundle.  [default: name of the output folder]")
@click.option("--spare-classes", default=4, show_default=True, type=click.IntRange(0, 1000))
@click.option(
    "--train",
    default="all",
    show_default=True,
    help="What trains of the solver: all, last:N layers, head, norm+bias, or a pattern of parameter names.",
)
@click.option("--solver", help="Factory of your own solver, package.module:factory.")
@click.option("--solver-weights", type=click.Path(path_type=Path))
@click.option(
    "--backbone-until",
    metavar="MODULE.PATH",
    help="Freeze all of your own solver before this module; your generator and discriminator are on its features.",
)
@click.option("--generator", help="Factory of your own generator.")
@click.option("--generator-weights", type=click.Path(path_type=Path))
@click.option("--discriminator", help="Factory of your own discriminator.")
@click.option("--discriminator-weights", type=click.Path(path_type=Path))
@click.option("--classes", callback=comma_separated, help="Class names in the order of the solver's outputs.")
@click.option("--input-shape", callback=dimensions, help="Shape of one input, such as 3,32,32.")
def command(
    pretrained: Path | None,
    output: Path,
    name: str | None,
    spare_classes: int,
    train: str,
    classes: tuple[str, ...],
    input_shape: tuple[int, ...] | None,
    **own: str | Path | None,
) -> None:
    """Turn what `reverie pretrain` wrote to PRETRAINED, or your own networks, into a bundle that trains on a box.

    Each of your own factories, with its weights, takes the place of what PRETRAINED holds. Without PRETRAINED all
    three are needed, with --classes and --input-shape.
    """
    from reverie.export.exporter import export_bundle
    from reverie.export.pretrained import load_networks, merge_own

    described = merge_own(pretrained, own, classes, input_shape)
    networks = load_networks(described, name or output.name, spare_classes, train)
    manifest = export_bundle(networks, output, lambda what: click.echo(f"exporting {what}"))
    worst = max(figures["relative"] for figures in manifest.parity.values())
    click.echo(f"{output}: {len(manifest.parity)} artifacts agree with torch, largest relative difference {worst:.1e}")

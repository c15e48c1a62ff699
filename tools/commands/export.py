"""`reverie export`: torch networks → bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reverie.tools.doubts import doubts
from reverie.tools.options import comma_separated, dimensions, preprocessing_options

if TYPE_CHECKING:
    from reverie.device_runtime.bundle.manifest import Manifest


@click.command("export")
@click.argument("pretrained", required=False, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Bundle folder, or .zip, to write.")
@click.option("--name", help="Name of the bundle.  [default: name of the output]")
@click.option("--family", help="Models that can take each other's place on a box.  [default: name of the bundle]")
@click.option("--key", type=click.Path(path_type=Path), help="Private key to sign with, as reverie keygen wrote it.")
@click.option("--spare-classes", default=4, show_default=True, type=click.IntRange(0, 1000))
@click.option(
    "--train",
    default="all",
    show_default=True,
    help="What trains of the solver: all, last:N layers, head, norm+bias, or a pattern of parameter names.",
)
@click.option(
    "--batchnorm",
    default="frozen",
    show_default=True,
    type=click.Choice(["frozen", "train"]),
    help="Statistics of the solver's batch normalization on the device: as they are, or of each batch it trains on.",
)
@click.option("--solver", help="Factory of your own solver, package.module:factory, or model.onnx.")
@click.option("--solver-weights", type=click.Path(path_type=Path))
@click.option(
    "--backbone-until",
    metavar="MODULE.PATH",
    help="Freeze all of your own solver before this module, or node of a model.onnx; your generator and discriminator "
    "are on its features.",
)
@click.option("--generator", help="Factory of your own generator.")
@click.option("--generator-weights", type=click.Path(path_type=Path))
@click.option("--discriminator", help="Factory of your own discriminator.")
@click.option("--discriminator-weights", type=click.Path(path_type=Path))
@click.option("--classes", callback=comma_separated, help="Class names in the order of the solver's outputs.")
@click.option("--input-shape", callback=dimensions, help="Shape of one input, such as 3,32,32.")
@click.option(
    "--canary",
    type=click.Path(path_type=Path),
    help="Class-named folders of a few images of the known classes to ship: an update that gets much worse on them is "
    "refused by the box.",
)
@click.option(
    "--rehearse",
    type=click.Path(path_type=Path),
    help="Class-named folders of images that pretraining has not seen: play updates with them, see reverie rehearse.",
)
@click.option(
    "--training-artifacts",
    type=click.Path(path_type=Path),
    help="Folder to write what onnxruntime's own API for training reads, for those who train with it; no box needs it.",
)
@preprocessing_options
def command(
    pretrained: Path | None,
    output: Path,
    name: str | None,
    family: str | None,
    key: Path | None,
    spare_classes: int,
    train: str,
    batchnorm: str,
    classes: tuple[str, ...],
    input_shape: tuple[int, ...] | None,
    canary: Path | None,
    rehearse: Path | None,
    training_artifacts: Path | None,
    stated: dict[str, Any],
    compare: tuple[str, Path] | None,
    **own: str | Path | None,
) -> None:
    """Turn what `reverie pretrain` wrote to PRETRAINED, or your own networks, into a bundle that trains on a box.

    Each of your own factories, with its weights, takes the place of what PRETRAINED holds. Without PRETRAINED all
    three are needed, with --classes and --input-shape.
    """
    from reverie.export.exporter import export_bundle
    from reverie.export.pretraining.pretrained import load_networks, merge_own
    from reverie.export.solvers.preprocessing import compare_with_callable

    for text in (name or output.name, family or ""):
        if not text.isprintable():
            raise click.UsageError(f"{text!r} cannot be printed: choose another --name or --family")
    described = merge_own(pretrained, own, classes, input_shape, stated)
    if compare is not None:
        figures = compare_with_callable(described.preprocessing, *compare)
        described = replace(described, measured={**described.measured, "preprocessing": figures})
    networks = load_networks(described, name or output.name.removesuffix(".zip"), spare_classes, train, batchnorm)
    networks = replace(networks, family=family or networks.name, canary=canary)
    manifest = export_bundle(
        networks,
        output,
        lambda what: click.echo(f"exporting {what}"),
        key,
        training_artifacts=training_artifacts,
        rehearse=None if rehearse is None else lambda folder, made: _rehearsed(folder, made, rehearse),
    )
    for what, figures in networks.compared.items():
        click.echo(f"{what} in onnxruntime agrees with torch, relative difference {figures['relative']:.1e}")
    for doubt in doubts(manifest.classes, manifest.unknown.get("measured")):
        click.echo(doubt)
    written = [figures["relative"] for what, figures in manifest.parity.items() if what not in networks.compared]
    click.echo(f"{output}: {len(written)} artifacts agree with torch, largest relative difference {max(written):.1e}")


def _rehearsed(folder: Path, manifest: Manifest, images: Path) -> Manifest:
    from reverie.tools.display import describe_rehearsal
    from reverie.tools.rehearsal.rehearse import rehearse

    found = rehearse(folder, manifest, images, told=lambda what: click.echo(f"rehearsing {what}"))
    for line in describe_rehearsal(found):
        click.echo(line)
    return replace(manifest, rehearsal=found)

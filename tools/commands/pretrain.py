"""`reverie pretrain`: a solver, and what generates its classes, from a folder of class-named folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from reverie.tools.doubts import doubts
from reverie.tools.options import comma_separated, dimensions, preprocessing_options, seed_option


@click.command("pretrain")
@click.argument("images", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--size", callback=dimensions, help="Resize images to HEIGHT,WIDTH.  [default: they are of one size]")
@click.option("--solver", help="Factory of your own solver, package.module:factory, or a trained model.onnx.")
@click.option("--solver-weights", type=click.Path(path_type=Path), help="Its weights, if it is trained already.")
@click.option(
    "--classes",
    callback=comma_separated,
    help="Class names in the order of the solver's outputs.  [default: the alphabet's]",
)
@click.option(
    "--backbone-until",
    metavar="MODULE.PATH",
    help="Freeze all of --solver before this module, or node of a model.onnx; what is behind it trains on the features "
    "that enter it, of which a Gaussian of each class is kept in the place of a GAN. With --solver-weights, or from a "
    "file, a solver with as many outputs as there are classes keeps its head as it is; any other, say one for "
    "ImageNet, gets a new last linear layer for the classes of IMAGES, trained on the features.",
)
@click.option(
    "--head",
    default="statistics",
    show_default=True,
    type=click.Choice(["statistics", "given"]),
    help="Where the weights of a single linear layer behind --backbone-until come from: solved from the statistics of "
    "the features of IMAGES, and on a box from those of the frames too; or --solver-weights, trained by gradients.",
)
@click.option(
    "--quantise",
    is_flag=True,
    help="Write the backbone in 8 bits, a quarter as large; with --head statistics, which are of its features then.",
)
@click.option("--solver-epochs", type=click.IntRange(1), help="[default: until its loss has converged]")
@click.option("--gan-steps", type=click.IntRange(1), help="[default: until it reproduces images no better]")
@preprocessing_options
@seed_option
def command(
    images: Path,
    output: Path,
    size: tuple[int, ...] | None,
    solver: str | None,
    solver_weights: Path | None,
    classes: tuple[str, ...],
    backbone_until: str | None,
    head: str,
    quantise: bool,
    solver_epochs: int | None,
    gan_steps: int | None,
    seed: int,
    stated: dict[str, Any],
    compare: tuple[str, Path] | None,
) -> None:
    """Train a reference solver, or your own, and what generates its classes on IMAGES/LABEL/*.png|jpg."""
    from reverie.export.pretraining.pipeline import pretrain_folder
    from reverie.export.pretraining.training import PretrainConfig
    from reverie.tools.display import step_progress

    console = Console()
    config = PretrainConfig(seed=seed, solver_epochs=solver_epochs, gan_steps=gan_steps)
    described = pretrain_folder(
        images,
        output,
        config,
        step_progress(console),
        size=size,
        solver=solver,
        solver_weights=solver_weights,
        stated=stated,
        compare=compare,
        order=classes,
        backbone_until=backbone_until,
        head=head,
        quantise=quantise,
    )
    _print_measured(console, described.classes, described.measured)
    for doubt in doubts(described.classes, described.measured):
        console.print(doubt, style="yellow", markup=False)
    console.print(f"written to {output}")


def _print_measured(console: Console, classes: tuple[str, ...], measured: Mapping[str, Any]) -> None:
    """How well solver and generator do on images that they did not learn from, and what was none of them."""
    for words in measured.get("passed_over", ()):
        console.print(words, style="yellow", markup=False, highlight=False, soft_wrap=True)
    heads = measured.get("heads", {})
    of = "images are right by cross-validation" if heads else "validation images are right"
    generated = measured.get("class_coverage")
    console.print(
        f"solver: {measured['validation_accuracy']:.1%} of the {of}; of each class"
        + (", and its share among the generator's samples as the solver sees them:" if generated else ":")
    )
    coverage = generated or [None] * len(classes)
    for label, right, share in zip(classes, measured["class_accuracy"], coverage, strict=True):
        made = "" if share is None else f", {share:.1%} generated"
        console.print(f"  {label}: {right:.1%} right{made}", markup=False, highlight=False)
    if measured.get("power") == 1.0:
        console.print("the features are taken as they are: more than a few of them are negative, so no root was taken")
    if "quantised" in measured:
        off = measured["quantised"]["difference"]
        console.print(f"backbone in 8 bits: its features differ by {off:.2f} of their standard deviation")
    if "given" in heads:
        console.print(
            f"the head that was given is right on {heads['given']:.1%} of these images, which it may have been trained "
            "on; --head given keeps it"
        )

"""`reverie pretrain`: solver and GAN from a folder of class-named folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from reverie.tools.options import comma_separated, dimensions, gan_steps_option, preprocessing_options, seed_option


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
    help="Freeze all of --solver before this module, or node of a model.onnx; what is behind it, and the GAN, train on "
    "the features that enter it. With --solver-weights, or from a file, a solver with as many outputs as there are "
    "classes keeps its head as it is; any other, say one for ImageNet, gets a new last linear layer for the classes of "
    "IMAGES, trained on the features.",
)
@click.option("--solver-epochs", default=8, show_default=True, type=click.IntRange(1))
@gan_steps_option
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
    solver_epochs: int,
    gan_steps: int,
    seed: int,
    stated: dict[str, Any],
    compare: tuple[str, Path] | None,
) -> None:
    """Train a reference solver, or your own, and a GAN on IMAGES/LABEL/*.png|jpg."""
    from reverie.export.pretraining.pipeline import pretrain_folder
    from reverie.export.pretraining.training import PretrainConfig, few_generated
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
    )
    console.print(f"solver: {described.measured['validation_accuracy']:.1%} of the validation images are right")
    console.print("generator, share of each class among its samples as the solver sees them:")
    for label, share in zip(described.classes, described.measured["class_coverage"], strict=True):
        console.print(f"  {label}: {share:.1%}", markup=False, highlight=False)
    few = few_generated(described.measured["class_coverage"])
    if few:
        names = ", ".join(described.classes[at] for at in few)
        console.print(
            f"warning: the generator makes less than half its share of {names}, and a box cannot rehearse what it does "
            "not make: train longer (--gan-steps) or from another --seed",
            style="yellow",
            markup=False,
        )
    console.print(f"written to {output}")

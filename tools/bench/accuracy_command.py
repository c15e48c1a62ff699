"""`reverie bench accuracy` as a command line: which images, and options that are for one kind of them alone."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from reverie.tools.bench.forms import ABLATIONS, all_forms
from reverie.tools.options import STATED, dimensions, gan_steps_option, preprocessing_options

ON_DATA = ("product", "shift", "split-class", "split-domain", "one-by-one")
ON_IMAGES = ("product", "chain", "few-5", "few-20", "few-60", "shift")
GENERATORS = ("reference", "linear", "transposed", "unconditional")
FOR_DATA = ("datasets", "generator")
FOR_IMAGES = (
    *("test_images", "shuffle_classes", "size", "solver", "solver_weights", "backbone_until", "head", "solver_epochs"),
    *(*STATED, "preprocess_with", "photos"),
)
"""Parameters of `accuracy` that mean nothing for the other kind of images."""
DATA = "Folder that holds mnist/ and fashion/ with the original idx files, plain or .gz."


@click.command("accuracy")
@click.option("--data", type=click.Path(path_type=Path), help=DATA)
@click.option("--dataset", "datasets", multiple=True, type=click.Choice(["fashion", "mnist"]), help="[default: both]")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice(list(dict.fromkeys(ON_DATA + ON_IMAGES))),
    help=f"Of --images: {', '.join(ON_IMAGES)}.  [default: product, shift; of --images product]",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="In the place of --data: a folder of class-named folders.",
)
@click.option(
    "--test-images",
    type=click.Path(path_type=Path),
    help="Of --images: a folder of the same classes to test on.  [default: a fifth of the images]",
)
@click.option("--shuffle-classes", is_flag=True, help="Of --images: let classes come in an order drawn with the seed.")
@click.option("--size", callback=dimensions, help="Of --images, as in `reverie pretrain`; so are its other options.")
@click.option("--solver")
@click.option("--solver-weights", type=click.Path(path_type=Path))
@click.option("--backbone-until", metavar="MODULE.PATH")
@click.option("--head", default="statistics", show_default=True, type=click.Choice(["statistics", "given"]))
@click.option("--solver-epochs", default=8, show_default=True, type=click.IntRange(1))
@preprocessing_options
@click.option(
    "--form",
    "forms",
    multiple=True,
    help="none, joint, er, lwf, ewc, dgr, literal, control, default, or a row of an ablation; of one linear layer "
    "behind a backbone also ncm, slda, slda-root, ridge, ranpac, gaussian.  [default: the first nine]",
)
@click.option(
    "--ablation", "ablations", multiple=True, type=click.Choice(ABLATIONS), help="A group of changes of the default."
)
@click.option(
    "--generator", default="reference", show_default=True, type=click.Choice(GENERATORS), help="Networks that generate."
)
@gan_steps_option
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--first-seed", default=0, show_default=True, help="To spread seeds over processes or machines.")
@click.option("--cache", type=click.Path(path_type=Path), help="Keep pretrained models here and use them again.")
@click.option("--validation", is_flag=True, help="Score on held-out training images, to choose settings by.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write figures as JSON, for one process; runs in it stay."
)
@click.option("--no-pictures", is_flag=True, help="Leave pictures out of --output, so that a repository can keep it.")
def accuracy_command(
    data: Path | None,
    datasets: tuple[str, ...],
    protocols: tuple[str, ...],
    images: Path | None,
    forms: tuple[str, ...],
    ablations: tuple[str, ...],
    generator: str,
    gan_steps: int,
    seeds: int,
    first_seed: int,
    cache: Path | None,
    validation: bool,
    output: Path | None,
    no_pictures: bool,
    **pretraining: Any,
) -> None:
    """Learn in steps with the device runtime; print accuracy on every task after every update."""
    from reverie.device_runtime.errors import ReverieError
    from reverie.tools.bench.accuracy import NAMES, ON_FEATURES, measure
    from reverie.tools.bench.accuracy_start import IdxImages, OwnImages, begin_with_files, begin_with_folder
    from reverie.tools.bench.result_tables import print_tables
    from reverie.tools.bench.results import load_runs, save_runs

    unknown = [form for form in forms if form not in {*NAMES, *ON_FEATURES, *all_forms()}]
    if unknown:
        raise click.BadParameter(f"there is no form {unknown[0]!r}", param_hint="--form")
    rows = [*forms, *(row for group in ablations for row in ABLATIONS[group])]
    wanted = list(dict.fromkeys(rows)) or list(NAMES)
    console = Console()
    runs = load_runs(output) if output is not None and output.exists() else []
    settings = ""
    if data is not None and images is None:
        _refuse(FOR_IMAGES, "--images")
        _refuse_protocols(protocols, ON_DATA, "--images")
        pairs = product(protocols or ("product", "shift"), datasets or ("fashion", "mnist"))
        beginnings = []
        for protocol, dataset in pairs:
            files = IdxImages(data, dataset, validation, generator, gan_steps)
            beginnings.append((protocol, files.name(), partial(begin_with_files, files, protocol, cache)))
    elif images is not None and data is None:
        _refuse(FOR_DATA, "--data")
        _refuse_protocols(protocols, ON_IMAGES, "--data")
        own = OwnImages(images, validation, gan_steps=gan_steps, **pretraining)
        settings = own.digest()
        beginnings = [
            (protocol, own.name(), partial(begin_with_folder, own, protocol, cache))
            for protocol in protocols or ("product",)
        ]
    else:
        raise click.UsageError("give either --data or --images")
    for protocol, name, begin in beginnings:
        for seed in range(first_seed, first_seed + seeds):
            there = [run for run in runs if (run.dataset, run.protocol, run.seed) == (name, protocol, seed)]
            if any(run.settings != settings for run in there):
                raise ReverieError(f"{output} holds runs of {name} with other images or options: give another --output")
            done = {run.form for run in there}
            for run in measure(partial(begin, seed), [form for form in wanted if form not in done], console):
                runs.append(run)
                if output is not None:
                    save_runs(runs, output, pictures=not no_pictures)
    print_tables(console, runs)


def _refuse(names: Collection[str], owner: str) -> None:
    """Raises UsageError where one of these options, which are for those who give `owner`, was given."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{parameter.opts[0]} is for {owner}")


def _refuse_protocols(given: Collection[str], offered: Collection[str], owner: str) -> None:
    """Raises BadParameter where one was given that is not `offered`, and is for those who give `owner`."""
    for protocol in given:
        if protocol not in offered:
            raise click.BadParameter(f"{protocol} is for {owner}", param_hint="--protocol")

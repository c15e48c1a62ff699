"""`reverie bench`: accuracy protocols, and speed and memory on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import click
from rich.console import Console

from reverie.tools.bench.accuracy_command import DATA, accuracy_command
from reverie.tools.bench.harm.command import harm_command
from reverie.tools.bench.harm.life_command import life_command
from reverie.tools.extras import require_extra
from reverie.tools.options import json_option, seed_option
from reverie.tools.output_file import replace_output

SIZES = ("28x28 reference", "64x64 MobileNetV2", "EfficientNet-Lite0 head")
PARTS = ("box", "growth", "steps", "rules", "update")


@click.group("bench")
def command() -> None:
    """Measure accuracy, forgetting, harm, speed and memory."""


command.add_command(accuracy_command)
command.add_command(harm_command)
command.add_command(life_command)


@command.command("table")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="As a document takes it.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write a row for each accuracy to this file.")
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write tables, plots and pictures to it.")
def table_command(files: tuple[Path, ...], markdown: bool, csv_file: Path | None, html_file: Path | None) -> None:
    """Print what `reverie bench accuracy --output` wrote to FILES, taken together."""
    from reverie.tools.bench.result_tables import as_markdown, print_tables
    from reverie.tools.bench.results import load_runs, save_csv

    if html_file is not None:
        require_extra("report", ["matplotlib"], "--html needs matplotlib", click.UsageError)
    runs = [run for path in files for run in load_runs(path)]
    if csv_file is not None:
        save_csv(runs, csv_file)
    if html_file is not None:
        from reverie.tools.bench.result_page import page

        replace_output(html_file, page(runs))
    if markdown:
        click.echo(as_markdown(runs))
    else:
        print_tables(Console(), runs)


@command.command("box")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--frames", required=True, type=click.Path(path_type=Path), help="Labelled frames to learn.")
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Test images in class-named folders.")
@click.option("--home", type=click.Path(path_type=Path), help="Keep the home here.  [default: a temporary one]")
@json_option
def box_command(bundle: Path, frames: Path, images: Path, home: Path | None, as_json: bool) -> None:
    """Install, update and predict in processes of their own; print accuracy, seconds and peak memory."""
    from reverie.tools.bench.box import measure_box, print_box

    result = measure_box(bundle, frames, images, home, Console(stderr=as_json))
    if as_json:
        click.echo(json.dumps(result))
    else:
        print_box(Console(), result)


@command.command("speed")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="[default: all; none with --beside]")
@click.option("--size", "sizes", multiple=True, type=click.Choice(SIZES), help="Of steps.  [default: all]")
@click.option("--cores", "threads", multiple=True, type=click.IntRange(1), help="[default: 1, and all]")
@click.option("--repeats", default=15, show_default=True, type=click.IntRange(1), help="Of each measurement of a time.")
@click.option("--compiled", is_flag=True, help="Steps beside torch.compile too, which takes minutes to compile.")
@click.option("--bundle", type=click.Path(path_type=Path), help="For the part update: one of the reference networks.")
@click.option("--frames", type=click.Path(path_type=Path), help="For the part update: labelled frames to learn.")
@click.option(
    "--beside",
    type=click.Path(path_type=Path),
    help="Folder with another onnxruntime, as pip install --target writes it: steps on both.",
)
@click.option("--plots", type=click.Path(path_type=Path), help="Write plots of the part growth to this PNG file.")
@click.option("--output", type=click.Path(path_type=Path), help="Write figures as JSON.")
@click.option("--markdown", is_flag=True, help="Print tables as a document takes them.")
def speed_command(
    parts: tuple[str, ...],
    sizes: tuple[str, ...],
    threads: tuple[int, ...],
    repeats: int,
    compiled: bool,
    bundle: Path | None,
    frames: Path | None,
    beside: Path | None,
    plots: Path | None,
    output: Path | None,
    markdown: bool,
) -> None:
    """What a box feels, how costs grow, steps, rules and a whole update beside torch, here; the ratios count."""
    from reverie.tools.bench.speed.run import measure_speed
    from reverie.tools.bench.speed.tables import print_markdown, print_speed

    parts = parts or (() if beside is not None else PARTS)
    if "update" in parts and (bundle is None or frames is None):
        raise click.UsageError("the part update needs --bundle and --frames; or choose other parts with --part")
    if plots is not None and "growth" not in parts:
        raise click.UsageError("--plots is of the part growth: add --part growth")
    if plots is not None:
        require_extra("report", ["matplotlib"], "--plots needs matplotlib", click.UsageError)
    learnt = (bundle, frames) if bundle is not None and frames is not None else None
    counts = threads or tuple(sorted({1, len(os.sched_getaffinity(0))}))
    speed = measure_speed(parts, sizes or SIZES, counts, repeats, compiled, learnt, Console(stderr=True), beside)
    if output is not None:
        replace_output(output, json.dumps(dataclasses.asdict(speed), indent=1) + "\n")
    if plots is not None and speed.growth is not None:
        from reverie.tools.bench.speed.plots import save_growth

        save_growth(speed.growth, plots)
    (print_markdown if markdown else print_speed)(speed)


@command.command("poisoning")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--frames", required=True, type=click.Path(path_type=Path), help="Honest labelled frames, to be poisoned."
)
@click.option("--images", required=True, type=click.Path(path_type=Path), help="Test images in class-named folders.")
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Folder for a home of each case.")
@click.option("--case", "cases", multiple=True, help="One of those in the table.  [default: all]")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1))
@click.option("--output", type=click.Path(path_type=Path), help="Write figures as JSON.")
def poisoning_command(
    bundle: Path, frames: Path, images: Path, work: Path, cases: tuple[str, ...], seeds: int, output: Path | None
) -> None:
    """Update a box with poisoned frames; print whether that serves and why not, as a Markdown table.

    Run again with the same --work, it goes on where it was interrupted.
    """
    from reverie.tools.bench.poisoned import as_markdown, run_case, save_outcomes
    from reverie.tools.bench.poisoning import CASES

    console, outcomes = Console(stderr=True), []
    for case in cases or CASES:
        for seed in range(seeds):
            outcomes.append(run_case(bundle, frames, images, work, case, seed, console))
            if output is not None:
                save_outcomes(outcomes, output)
    click.echo(as_markdown(outcomes))


@command.command("clips")
@click.option("--known", multiple=True, required=True, type=click.Path(path_type=Path), help="Clip of a known class.")
@click.option("--new", multiple=True, required=True, type=click.Path(path_type=Path), help="Clip of one to learn.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--most", default=100, show_default=True, type=click.IntRange(2), help="Most frames of half a clip.")
def clips_command(known: tuple[Path, ...], new: tuple[Path, ...], output: Path, most: int) -> None:
    """Cut video clips, each named for what it shows, into images for `pretrain` and `bench box`.

    The first half of a known clip goes to OUTPUT/historical, of a new one to OUTPUT/frames, the second half of all to
    OUTPUT/test. Give --known and --new once for each clip.
    """
    from reverie.tools.bench.clips import split_clips

    for part, count in split_clips(known, new, output, most).items():
        click.echo(f"{output / part}: {count} images")


@command.command("demo-bundle")
@click.option("--data", required=True, type=click.Path(path_type=Path), help=DATA)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@seed_option
def demo_command(data: Path, output: Path, seed: int) -> None:
    """Make the demo from the Fashion-MNIST files: bundle of classes 0-5, frames of 6 and 7, test images."""
    from reverie.tools.bench.demo import make_demo

    make_demo(data, output, seed, Console())


@command.command("live")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--source", required=True, type=click.Path(path_type=Path), help="A video file to predict.")
@click.option("--frames", required=True, type=click.Path(path_type=Path), help="Class-named folders that are learnt.")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(1), help="To predict without update.")
@json_option
def live_command(bundle: Path, source: Path, frames: Path, seconds: float, as_json: bool) -> None:
    """Frames a second of live prediction, alone and beside an update as a capture starts it."""
    from reverie.tools.bench.live import measure_live

    figures = measure_live(bundle, source, frames, seconds)
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name in ("alone", "beside"):
        measured = figures[name]
        words = "without update" if name == "alone" else f"beside an update of {figures['update_seconds']:.0f} s"
        click.echo(
            f"{words}: {measured['rate']:.1f} frames/s, {measured['median']:.1f} ms each, "
            f"95 % within {measured['most']:.1f} ms"
        )
    click.echo(f"ratio {figures['ratio']:.2f}; the update ended {figures['outcome']}")


@command.command("capture")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--source", required=True, help="As of reverie capture.")
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(0.1))
def capture_command(bundle: Path, source: str, minutes: float) -> None:
    """Memory of a capture that goes on for so long, keeping five frames a second."""
    from reverie.tools.bench.live import measure_capture

    megabytes = measure_capture(bundle, source, minutes)
    for tenth, resident in enumerate(megabytes):
        click.echo(f"after {tenth * minutes / 10:4.1f} min: {resident:.0f} MB")

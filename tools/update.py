"""`reverie update`: learn labelled frames with all six stages and put the result into service."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from reverie.tools.options import home_option, json_option, seed_option


@click.command("update")
@home_option
@click.option(
    "--frames",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of class-named folders of images.",
)
@click.option("--literal", is_flag=True, help="Run the published form of the method instead of the default.")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Time limit for the update.")
@click.option("--min-images", type=click.IntRange(2), help="Fewest images of a label.  [default: 5]")
@seed_option
@json_option
def command(
    home: Path,
    frames: Path,
    literal: bool,
    max_minutes: float | None,
    min_images: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Learn what FRAMES show; the generation in service is never touched."""
    from dataclasses import replace

    from reverie.device_runtime import store
    from reverie.device_runtime.config import UpdateConfig
    from reverie.device_runtime.frames import read_frames
    from reverie.device_runtime.inputs import InputMaker
    from reverie.device_runtime.monitor import Monitor
    from reverie.device_runtime.update import run_update
    from reverie.tools.display import print_report, update_progress

    config = UpdateConfig(seed=seed, max_minutes=max_minutes)
    if min_images is not None:
        config = replace(config, min_images=min_images)
    if literal:
        config = config.literal()
    console = Console(stderr=as_json)
    parent = store.read_generation(home)
    models = store.load_models(home, parent)
    store.require_space(home, sum(record.size for record in parent.files.values()) * 2)
    with update_progress(console, "update") as listener:
        monitor = Monitor(listener, max_minutes)
        with monitor.stage("frames"):
            labelled = read_frames(frames, InputMaker(models.folder, models.manifest), config.min_images, monitor.step)
        updated = run_update(models, labelled, config, monitor)
    report = updated.report.to_json()
    generation = store.add_generation(home, parent, updated.models, report)
    if as_json:
        click.echo(json.dumps(generation.to_json() | {"report": report}))
        return
    print_report(console, report)
    console.print(f"{home} now serves generation {generation.name}: {', '.join(generation.classes)}")

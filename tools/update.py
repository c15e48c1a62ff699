"""`reverie update`: learn labelled frames with all six stages and put the result into service."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from reverie.tools.options import home_option, json_option, seed_option

if TYPE_CHECKING:
    from reverie.device_runtime.config import UpdateConfig
    from reverie.device_runtime.journal import Journal
    from reverie.device_runtime.monitor import Listener


@click.command("update")
@home_option
@click.option(
    "--frames",
    type=click.Path(path_type=Path),
    help="Folder of class-named folders of images. Not needed to go on with an update that was cut off.",
)
@click.option("--restart", is_flag=True, help="Drop an update that was cut off.")
@click.option("--keep", default=3, show_default=True, type=click.IntRange(2), help="Generations to keep.")
@click.option("--literal", is_flag=True, help="Run the published form of the method instead of the default.")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Time limit for the update.")
@click.option("--min-images", type=click.IntRange(2), help="Fewest images of a label.  [default: 5]")
@seed_option
@json_option
def command(
    home: Path,
    frames: Path | None,
    restart: bool,
    keep: int,
    literal: bool,
    max_minutes: float | None,
    min_images: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Learn what FRAMES show, or go on with an update that was cut off.

    The generation in service is never touched.
    """
    from dataclasses import replace

    from reverie.device_runtime.config import UpdateConfig

    config = UpdateConfig(seed=seed, max_minutes=max_minutes)
    if min_images is not None:
        config = replace(config, min_images=min_images)
    if literal:
        config = config.literal()
    if frames is None and config != UpdateConfig():
        raise click.UsageError("an update that was cut off keeps its options: options of a new one need --frames")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        _update(home, frames, config, restart, keep, as_json)
    except KeyboardInterrupt:
        from reverie.device_runtime.transaction import look

        updates, _ = look(home)
        if not updates or updates[-1].outcome is not None:
            raise
        click.echo(f"interrupted; go on with: reverie update --home {home}", err=True)
        sys.exit(130)


def _update(home: Path, frames: Path | None, config: UpdateConfig, restart: bool, keep: int, as_json: bool) -> None:
    from reverie.device_runtime import store, transaction
    from reverie.tools.display import print_report, update_progress

    console = Console(stderr=as_json)
    with transaction.changing(home) as journal, update_progress(console, "update") as listener:
        if restart:
            transaction.drop(home, journal)
        if frames is not None:
            _begin(home, journal, frames, config, listener)
        elif restart:
            console.print(f"{home} has no update in progress any more", highlight=False, soft_wrap=True)
            return
        cut_off = journal.in_progress()
        if cut_off is not None and cut_off.stage:
            console.print(f"going on in {cut_off.stage} after step {cut_off.step}", highlight=False)
        generation = transaction.go_on(home, journal, listener, keep=keep)
    report = store.read_report(home, generation.name)
    if as_json:
        click.echo(json.dumps(generation.to_json() | {"report": report}))
        return
    if report is not None:
        print_report(console, report)
    console.print(f"{home} now serves generation {generation.name}: {', '.join(generation.classes)}")


def _begin(home: Path, journal: Journal, frames: Path, config: UpdateConfig, listener: Listener) -> None:
    """Make inputs of the frames and store them; the backbone is out of memory before the update goes on."""
    from reverie.device_runtime import store, transaction
    from reverie.device_runtime.bundle import read_manifest
    from reverie.device_runtime.frames import read_frames
    from reverie.device_runtime.inputs import InputMaker
    from reverie.device_runtime.monitor import Monitor

    serving = store.read_generation(home).bundle
    bundle = home / "bundles" / serving
    monitor = Monitor(listener)
    with monitor.stage("frames") as reading:
        read = read_frames(frames, InputMaker(bundle, read_manifest(bundle, serving)), config.min_images, monitor.step)
    transaction.begin(home, journal, read, config, reading)

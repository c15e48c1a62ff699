"""`reverie update`: learn labelled frames with all six stages and put the result into service."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from reverie.tools.ending import end_as_by_ctrl_c
from reverie.tools.options import home_option, json_option, seed_option

if TYPE_CHECKING:
    from reverie.device_runtime.config import UpdateConfig


@click.command("update")
@home_option
@click.option(
    "--frames",
    type=click.Path(path_type=Path),
    help="Folder of class-named folders of images. Without it, an update that was cut off goes on, or else the stored "
    "frames are learnt.",
)
@click.option("--restart", is_flag=True, help="Drop an update that was cut off.")
@click.option("--keep", default=3, show_default=True, type=click.IntRange(2), help="Generations to keep.")
@click.option(
    "--probation",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Predictions that the new "
    "generation must make before older ones may go; failing three times, it is left for the one before.",
)
@click.option("--floor", type=click.FloatRange(0, 1), help="Least accuracy on held-out frames.  [default: 0.5]")
@click.option("--literal", is_flag=True, help="Run the published form of the method instead of the default.")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Time limit for the update.")
@click.option("--min-images", type=click.IntRange(2), help="Fewest images of a label.  [default: 5]")
@click.option("--max-images", type=click.IntRange(2), help="Most images of a label.  [default: 5000]")
@click.option("--take-all", is_flag=True, help="Set nothing aside that can be read, and ask nothing.")
@click.option("--insist", multiple=True, metavar="LABEL", help="Learn a label that would be held back.")
@click.option("--keep-frames", is_flag=True, help="Keep stored frames when the result is in service.")
@click.option("--progress", is_flag=True, help="With --json, first a line for each step, ten a second at most.")
@seed_option
@json_option
def command(
    home: Path,
    frames: Path | None,
    restart: bool,
    keep: int,
    probation: int,
    floor: float | None,
    literal: bool,
    max_minutes: float | None,
    min_images: int | None,
    max_images: int | None,
    take_all: bool,
    insist: tuple[str, ...],
    keep_frames: bool,
    progress: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Learn what FRAMES show, or what is stored, or go on with an update that was cut off.

    Frames that are blank, blurred, shown twice or contradict each other or the solver are set aside with the reason:
    see `reverie frames`. A label that looks like another class is held back: --insist learns it all the same. The
    generation in service is never touched. The new one serves if it is fit to, and stored frames go then; otherwise
    it is kept as rejected.
    """
    from dataclasses import replace

    from reverie.device_runtime.config import UpdateConfig

    if progress and not as_json:
        raise click.UsageError("--progress goes with --json: a terminal shows progress without it")
    config = UpdateConfig(seed=seed, max_minutes=max_minutes)
    config = replace(config, promotion=replace(config.promotion, probation=probation))
    if floor is not None:
        config = replace(config, promotion=replace(config.promotion, floor=floor))
    if min_images is not None:
        config = replace(config, min_images=min_images)
    if max_images is not None:
        config = replace(config, intake=replace(config.intake, max_per_class=max_images))
    if take_all:
        config = replace(config, intake=replace(config.intake, check=False))
    if literal:
        config = config.literal()
    end_as_by_ctrl_c()
    try:
        _update(home, frames, config, restart, keep, keep_frames, insist, progress, as_json)
    except KeyboardInterrupt:
        from reverie.device_runtime.changes.transaction import look

        updates, _ = look(home)
        if not updates or updates[-1].outcome is not None:
            raise
        click.echo(f"interrupted; go on with: reverie update --home {home}", err=True)
        sys.exit(130)


def _update(
    home: Path,
    frames: Path | None,
    config: UpdateConfig,
    restart: bool,
    keep: int,
    keep_frames: bool,
    insist: tuple[str, ...],
    progress: bool,
    as_json: bool,
) -> None:
    from reverie.device_runtime.changes import gathering, transaction
    from reverie.device_runtime.config import UpdateConfig
    from reverie.device_runtime.frames.frame_store import FrameStore
    from reverie.device_runtime.home import store
    from reverie.tools.display import print_report, print_set_aside, progress_lines, update_progress

    console = Console(stderr=as_json)
    shown = nullcontext(progress_lines()) if progress else update_progress(console, "update")
    with transaction.changing(home) as journal, shown as listener:
        if restart:
            only = frames is None
            if only and (keep_frames or insist or config != UpdateConfig()):
                raise click.UsageError("--restart without --frames only drops an update: its options would say nothing")
            had = "has no update in progress any more" if journal.in_progress() else "had no update in progress to drop"
            transaction.drop(home, journal)
            if only:
                console.print(f"{home} {had}", highlight=False, soft_wrap=True)
                return
        begins = frames is not None or (
            journal.in_progress() is None and bool(FrameStore(home, journal).numbers_to_learn())
        )
        if begins:
            gathering.begin(home, journal, frames, config, listener, keep_frames, insist)
        cut_off = journal.in_progress()
        if not begins and cut_off is not None and (keep_frames or insist or config != UpdateConfig()):
            raise click.UsageError(
                "an update that was cut off keeps its options: options of a new one need --frames, or stored frames"
            )
        if cut_off is not None and cut_off.stage:
            console.print(f"going on in {cut_off.stage} after step {cut_off.step}", highlight=False)
        generation = transaction.go_on(home, journal, listener, keep=keep)
    report = store.read_report(home, generation.name)
    if as_json:
        click.echo(json.dumps(generation.to_json() | {"report": report}))
        return
    if report is not None:
        print_report(console, report)
        print_set_aside(console, report.get("set_aside", {}), frames)
    console.print(f"{home} now serves generation {generation.name}: {', '.join(generation.classes)}")

"""`reverie status`: what is in service."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from reverie.tools.options import home_option, json_option
from reverie.tools.output_file import replace_output

if TYPE_CHECKING:
    from reverie.device_runtime.home.journal import Update


@click.command("status")
@home_option
@json_option
@click.option("--picture", type=click.Path(path_type=Path), help="Write generated inputs, a row a class, as PNG.")
def command(home: Path, as_json: bool, picture: Path | None) -> None:
    """Show the generation in service, its classes, spare slots, the result of its update, and one in progress."""
    from reverie.device_runtime.bundle.contents import read_manifest
    from reverie.device_runtime.changes import transaction
    from reverie.device_runtime.frames import frame_store
    from reverie.device_runtime.home import store
    from reverie.device_runtime.serving import probation
    from reverie.tools.display import describe_backbone, print_report

    generation = store.read_generation(home)
    manifest = read_manifest(home / "bundles" / generation.bundle, generation.bundle)
    report = store.read_report(home, generation.name)
    if picture is not None:
        from reverie.device_runtime.home.pictures import picture_of_classes

        replace_output(picture, picture_of_classes(store.load_models(home, generation)))
    updates, busy = transaction.look(home)
    standing = probation.read(home, generation.name)
    frames = frame_store.counts(home)
    spare = manifest.slots - len(generation.classes)
    if as_json:
        values = generation.to_json() | {"spare_slots": spare, "generations": store.generations(home)}
        update = updates[-1].to_json() | {"running": busy} if updates else None
        values |= {"rejected": store.rejected(home), "probation": standing and dataclasses.asdict(standing)}
        values |= {"backbone": manifest.backbone and manifest.backbone.until, "input_shape": manifest.input_shape}
        values |= {"engine": _engine()}
        click.echo(json.dumps(values | {"report": report, "update": update, "frames": frames}))
        return
    click.echo(f"in service:  generation {generation.name} of {manifest.name}, made {generation.created}")
    click.echo(f"classes:     {', '.join(generation.classes)}")
    click.echo(f"spare slots: {spare}")
    if manifest.backbone is not None:
        click.echo(describe_backbone(manifest))
    click.echo(f"engine:      {_engine() or 'none is installed'}")
    click.echo(f"generations: {', '.join(store.generations(home))}")
    if store.rejected(home):
        click.echo(f"rejected:    {', '.join(store.rejected(home))}; see reverie history")
    if standing is not None and standing.on_probation:
        click.echo(f"probation:   {standing.passed} of {standing.predictions} predictions, {standing.failed} failures")
    if any(frames.values()):
        learnt = f", {frames['learnt']} of an update that is not confirmed" if frames["learnt"] else ""
        click.echo(f"frames:      {frames['to_learn']} to learn, {frames['quarantined']} set aside{learnt}")
    if updates:
        click.echo(f"last update: {_state(updates[-1], busy, home)}")
    if report is not None:
        print_report(Console(), report)


def _engine() -> str | None:
    """What would compute an update, with its version; None where there is none, which hinders nobody from looking."""
    from reverie.device_runtime.engine.installed import installed_engine
    from reverie.device_runtime.errors import EngineError

    try:
        return str(installed_engine())
    except EngineError:
        return None


def _state(update: Update, busy: bool, home: Path) -> str:
    """In a few words, how far the update is or how it ended."""
    if update.outcome is not None:
        return f"{update.outcome} since {update.ended}" + (f": {update.message}" if update.message else "")
    saved = f"saved in {update.stage} after step {update.step}" if update.stage else "nothing saved yet"
    if busy:
        return f"running since {update.begun}, {saved}"
    return f"cut off, {saved}; go on with: reverie update --home {home}"

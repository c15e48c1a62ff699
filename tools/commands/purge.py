"""`reverie purge`: forget stored frames, those set aside, and an update in progress that holds them."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reverie.tools.options import home_option, json_option

if TYPE_CHECKING:
    from reverie.device_runtime.home.journal import Journal


def _time(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Callback for `--before 2026-11-25T14:00`: as the journal notes it, in UTC."""
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone(timezone.utc).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        raise click.BadParameter("write a time such as 2026-11-25 or 2026-11-25T14:00+00:00") from None


@click.command("purge")
@home_option
@click.option("--all", "everything", is_flag=True, help="All frames, and the key that they were sealed with.")
@click.option("--label", help="Frames of this label.")
@click.option("--before", callback=_time, metavar="TIME", help="Frames older than this, in local time unless it says.")
@json_option
def command(home: Path, everything: bool, label: str | None, before: str | None, as_json: bool) -> None:
    """Remove frames for good, and drop an update in progress that holds them.

    What the weights of a generation have learnt from frames stays in them.
    """
    from reverie.device_runtime.changes import purge, transaction

    if everything == (label is not None or before is not None):
        raise click.UsageError("say what to forget: --all, or --label and --before, alone or together")
    try:
        with transaction.changing(home) as journal:
            gone = purge.purge(home, journal, purge.Scope(label, before))
            if label is not None and not (gone["stored"] or gone["quarantined"] or gone["update"]):
                _require_frames_of(label, home, journal)
    except KeyboardInterrupt:
        click.echo("interrupted; purge again, or let the next command finish what was begun", err=True)
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(gone))
        return
    click.echo(f"purged: {gone['stored']} stored frames, {gone['quarantined']} set aside")
    if gone["update"]:
        click.echo("dropped: the update in progress, which held some of them")
    if gone["key"]:
        click.echo("destroyed: the key; a new one is made when it is needed")
    click.echo("not removed: weights that learnt from frames before; install the bundle into a new home for others")


def _require_frames_of(label: str, home: Path, journal: Journal) -> None:
    """Raises FramesError: a label that was mistyped must not look like one that was forgotten."""
    from reverie.device_runtime.errors import FramesError
    from reverie.device_runtime.frames.frame_store import FrameStore

    labels = {frame.label for frame in FrameStore(home, journal).frames()}
    if label not in labels:
        there = ", ".join(sorted(labels)) or "of no label"
        raise FramesError(f"{home} holds no frames of {label}, so none were removed (it holds some: {there})")

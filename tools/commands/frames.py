"""`reverie frames`: what a home has stored to learn, and what was set aside and why."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reverie.tools.options import home_option, json_option

if TYPE_CHECKING:
    from reverie.device_runtime.frames.frame_files import Frame

NEWEST = 50
"""Frames in quarantine that the table shows."""


@click.command("frames")
@home_option
@click.option("--release", multiple=True, type=int, metavar="ID", help="Store a frame that was set aside after all.")
@json_option
def command(home: Path, release: tuple[int, ...], as_json: bool) -> None:
    """List the stored frames by label, and those in quarantine with their reasons."""
    from reverie.device_runtime.frames import frame_store

    with frame_store.opened(home) as store:
        for number in release:
            store.release(number)
        found = store.frames()
    if as_json:
        click.echo(json.dumps(_counted(found)))
    else:
        _show(Console(), found)


def _counted(frames: list[Frame]) -> dict[str, object]:
    labels = {}
    for label in sorted({frame.label for frame in frames}):
        own = [frame for frame in frames if frame.label == label]
        labels[label] = {
            "stored": sum(frame.reason is None for frame in own),
            "quarantined": Counter(frame.reason for frame in own if frame.reason is not None),
            "bytes": sum(frame.size for frame in own),
        }
    aside = [frame.to_json() for frame in frames if frame.reason is not None]
    return {"labels": labels, "quarantine": aside, "bytes": sum(frame.size for frame in frames)}


def _show(console: Console, frames: list[Frame]) -> None:
    if not frames:
        console.print("no frames")
        return
    table = Table(title="Frames", title_justify="left")
    for heading in ("label", "stored", "set aside", "kB"):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    for label in sorted({frame.label for frame in frames}):
        own = [frame for frame in frames if frame.label == label]
        stored = sum(frame.reason is None for frame in own)
        size = sum(frame.size for frame in own)
        table.add_row(Text(label), str(stored), str(len(own) - stored), f"{size / 1e3:.0f}")
    console.print(table)
    aside = [frame for frame in frames if frame.reason is not None]
    if aside:
        quarantine = Table("id", "label", "reason", "since", title="Quarantine", title_justify="left")
        for frame in aside[-NEWEST:]:
            quarantine.add_row(str(frame.id), Text(frame.label), Text(str(frame.reason)), frame.added)
        console.print(quarantine)
        if len(aside) > NEWEST:
            console.print(f"and {len(aside) - NEWEST} older ones: --json lists all")

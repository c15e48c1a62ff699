"""`reverie add`: store labelled images as frames of a home, one at a time, as a camera does."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import click

from reverie.tools.options import home_option, json_option


@click.command("add")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@home_option
@click.option("--label", required=True, help="What the images show.")
@click.option("--max-images", type=click.IntRange(2), help="Most frames of a label.  [default: 5000]")
@click.option("--max-mb", default=500, show_default=True, type=click.IntRange(1), help="Most that all frames may take.")
@click.option("--take-all", is_flag=True, help="Set nothing aside.")
@json_option
def command(
    images: tuple[Path, ...],
    home: Path,
    label: str,
    max_images: int | None,
    max_mb: int,
    take_all: bool,
    as_json: bool,
) -> None:
    """Store IMAGES, files or folders of them, as frames of a label for `reverie update` to learn.

    What is blank, blurred, or shown already is set aside with the reason: see `reverie frames`. An image that cannot be
    read is told and passed over.
    """
    from dataclasses import replace

    from reverie.device_runtime import frame_store
    from reverie.device_runtime.config import IntakeConfig
    from reverie.device_runtime.errors import FramesError
    from reverie.device_runtime.gate import Gate
    from reverie.device_runtime.preprocess import find_images, read_image

    config = IntakeConfig(check=not take_all)
    if max_images is not None:
        config = replace(config, max_per_class=max_images)
    files = [file for path in images for file in find_images(path)]
    aside: Counter[str] = Counter()
    unreadable = 0
    with frame_store.opened(home, max_mb << 20) as frames:
        gate = Gate(frames, config)
        for file in files:
            try:
                read_image(file)
            except FramesError as error:
                click.echo(f"reverie: {error}", err=True)
                unreadable += 1
                continue
            reason = gate.offer(label, file.read_bytes(), file)
            if reason is not None:
                aside[reason] += 1
                if not as_json:
                    click.echo(f"{file}: set aside, {reason}")
        stored = sum(frame.label == label for frame in frames.stored())
    added = len(files) - aside.total() - unreadable
    if as_json:
        click.echo(json.dumps({"label": label, "added": added, "set_aside": aside, "stored": stored}))
    else:
        click.echo(f"{added} of {len(files)} frames added; {label} has {stored}")
    if unreadable:
        sys.exit(1)

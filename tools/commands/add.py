"""`reverie add`: store labelled images as frames of a home, one at a time, as a camera does."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reverie.tools.options import home_option, json_option, quota_option

if TYPE_CHECKING:
    from reverie.device_runtime.frames.gate import Gate

ADDED = "added"
UNREADABLE = "unreadable"


@click.command("add")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@home_option
@click.option("--label", required=True, help="What the images show.")
@click.option("--max-images", type=click.IntRange(2), help="Most frames of a label.  [default: 5000]")
@quota_option
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

    from reverie.device_runtime.bundle.preprocess import find_images
    from reverie.device_runtime.config import IntakeConfig
    from reverie.device_runtime.errors import FramesError
    from reverie.device_runtime.frames import frame_store
    from reverie.device_runtime.frames.gate import Gate

    config = IntakeConfig(check=not take_all)
    if max_images is not None:
        config = replace(config, max_per_class=max_images)
    files = [file for path in images for file in find_images(path)]
    ended: list[str] = []
    with frame_store.opened(home, max_mb << 20) as frames:
        gate = Gate(frames, config)
        try:
            for file in files:
                ended.append(_offer(gate, label, file))
                if ended[-1] not in {ADDED, UNREADABLE} and not as_json:
                    click.echo(f"{file}: set aside, {ended[-1]}")
        except KeyboardInterrupt:
            click.echo(f"interrupted; {ended.count(ADDED)} of {len(files)} frames were added", err=True)
            sys.exit(130)
        except FramesError as error:
            raise FramesError(f"{error}; {ended.count(ADDED)} of {len(files)} frames were added") from None
        stored = sum(frame.label == label for frame in frames.stored())
    added = ended.count(ADDED)
    if as_json:
        aside = Counter(end for end in ended if end not in {ADDED, UNREADABLE})
        click.echo(json.dumps({"label": label, "added": added, "set_aside": aside, "stored": stored}))
    else:
        click.echo(f"{added} of {len(files)} frames added; {label} has {stored}")
    if UNREADABLE in ended:
        sys.exit(1)


def _offer(gate: Gate, label: str, file: Path) -> str:
    """How it ended: ADDED, UNREADABLE, which is told, or the reason for which the frame was set aside."""
    from reverie.device_runtime.camera.images import read_image
    from reverie.device_runtime.errors import FramesError

    try:
        read_image(file)
    except FramesError as error:
        click.echo(f"reverie: {error}", err=True)
        return UNREADABLE
    return gate.offer(label, file.read_bytes(), file) or ADDED

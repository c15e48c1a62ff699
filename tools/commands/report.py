"""`reverie report`: one generation as one HTML file."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reverie.tools.extras import require_extra
from reverie.tools.options import home_option
from reverie.tools.output_file import replace_output

if TYPE_CHECKING:
    from reverie.device_runtime.home.audit import Entry
    from reverie.device_runtime.home.store import Generation
    from reverie.tools.report.page import Shown

UNAFFECTED = "the generation itself is not affected"


@click.command("report")
@home_option
@click.option("--generation", help="Which one, also of those rejected.  [default: the one in service]")
@click.option("--output", type=click.Path(path_type=Path), help="HTML file.  [default: report-GENERATION.html]")
@click.option("--include-frames", is_flag=True, help="Show the frames that the home holds: images of what it saw.")
def command(home: Path, generation: str | None, output: Path | None, include_frames: bool) -> None:
    """Write what a generation learnt, kept and cost, and why it serves or not, as one HTML file.

    The file needs nothing else, and holds no frame unless --include-frames.
    """
    from reverie.device_runtime.errors import BundleError
    from reverie.device_runtime.home.layout import open_home

    require_extra("report", ["matplotlib"], "plots need matplotlib")
    from reverie.device_runtime.home import store
    from reverie.tools.report.page import page

    open_home(home)
    name = store.current(home) if generation is None else generation
    output = output or Path(f"report-{name}.html")
    shown = _gathered(home, name, include_frames=include_frames)
    try:
        content = page(shown)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if not shown.report:
            raise
        raise BundleError(f"report.json of generation {name} in {home} is damaged ({error!r}): {UNAFFECTED}") from error
    replace_output(output, content, mode=0o600 if include_frames else 0o666)  # frames are for the home's owner only
    click.echo(f"{output}: generation {name}, {len(content) / 1e3:.0f} kB")


def _gathered(home: Path, name: str, *, include_frames: bool) -> Shown:
    """All that the file tells. Raises HomeError, BundleError."""
    from reverie.device_runtime.bundle.contents import read_manifest
    from reverie.device_runtime.changes import transaction
    from reverie.device_runtime.errors import HomeError
    from reverie.device_runtime.home import store
    from reverie.tools.report.page import Shown

    rejected = name in store.rejected(home)
    if not rejected and name not in store.generations(home):
        found = ", ".join(sorted([*store.generations(home), *store.rejected(home)]))
        raise HomeError(f"generation {name} is not, or no longer, in {home}: choose one of {found} with --generation")
    generation = store.read_generation(home, name + store.REJECTED if rejected else name)
    return Shown(
        home=home.resolve().name,
        generation=generation,
        manifest=read_manifest(home / "bundles" / generation.bundle, generation.bundle),
        report=store.read_report(home, name) or {},
        state="rejected" if rejected else "in service" if name == store.current(home) else "kept, not in service",
        history=[entry for entry in transaction.audit_log(home) if _is_about(entry, name)],
        generated=None if rejected else _generated(home, generation),
        synthesised=store.read_picture(home, generation),
        frames=_frames(home) if include_frames else None,
    )


def _is_about(entry: Entry, name: str) -> bool:
    facts = json.loads(entry.facts)
    return name in {facts.get("generation"), facts.get("to")}


def _generated(home: Path, generation: Generation) -> bytes | None:
    """A picture, where inputs are pictures. Raises BundleError."""
    from reverie.device_runtime.home import store
    from reverie.device_runtime.home.pictures import picture_of_classes

    models = store.load_models(home, generation)
    return None if models.manifest.backbone is not None else picture_of_classes(models)


def _frames(home: Path) -> list[tuple[str, str, bytes]]:
    """Label, reason or "", and a small JPEG, of each frame that can be read."""
    import cv2

    from reverie.device_runtime.bundle.preprocess import resized_by
    from reverie.device_runtime.camera.images import decode_image
    from reverie.device_runtime.errors import FramesError
    from reverie.device_runtime.frames import frame_store
    from reverie.tools.report.page import THUMBNAIL

    found = []
    with frame_store.opened(home) as frames:
        for frame in frames.frames():
            with suppress(FramesError):
                image = decode_image(frames.content(frame), frame.file)
                small = resized_by(image, THUMBNAIL / max(image.shape[:2]))
                found.append((frame.label, frame.reason or "", cv2.imencode(".jpg", small)[1].tobytes()))
    return found

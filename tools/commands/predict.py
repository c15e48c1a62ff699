"""`reverie predict`: label and probability of image files, or of what a camera sees."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reverie.tools.ending import end_as_by_ctrl_c
from reverie.tools.options import Source, ask_option, home_option, json_option, source_options

if TYPE_CHECKING:
    from reverie.device_runtime.camera.camera import Camera, CameraState


@click.command("predict")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@home_option
@source_options(required=False)
@ask_option
@json_option
def command(images: tuple[Path, ...], home: Path, source: Source | None, ask_below: float, as_json: bool) -> None:
    """Classify IMAGES, files or folders of them, or what a --source shows, with the generation in service.

    With --json, a line {"file", "label", "probability", "probabilities", "known", "strange"} for each image: "known" is
    how likely it is of any class that is known, null where the bundle does not tell, and "strange" whether that is
    below what nearly all images of known classes have. An image that cannot be read is told and passed over. Of a
    source, a line for each frame has "frame" in place of "file", and "margin", "milliseconds", "rate", "generation" and
    "ask"; a generation that is put into service meanwhile is taken up.
    """
    if bool(images) == (source is not None):
        raise click.UsageError("give images or folders, or a --source, and not both")
    if source is None:
        _predict_files(images, home, as_json)
    else:
        _predict_source(source, home, ask_below, as_json)


def _predict_files(images: tuple[Path, ...], home: Path, as_json: bool) -> None:
    from reverie.device_runtime.bundle.preprocess import find_images
    from reverie.device_runtime.camera.images import read_image
    from reverie.device_runtime.errors import FramesError
    from reverie.device_runtime.serving.predictor import Predictor

    files = [file for path in images for file in find_images(path)]
    predictor = Predictor(home)
    passed_over = False
    for file in files:
        try:
            prediction = predictor.predict(read_image(file), file)
        except FramesError as error:
            click.echo(f"reverie: {error}", err=True)
            passed_over = True
            continue
        if as_json:
            click.echo(json.dumps({"file": str(file), **prediction._asdict()}))
        else:
            strange = ", but unlike all that is known" if prediction.strange else ""
            click.echo(f"{file}: {prediction.label} {prediction.probability:.1%}{strange}")
    if passed_over:
        sys.exit(1)


def _predict_source(source: Source, home: Path, ask_below: float, as_json: bool) -> None:
    """On a terminal the view of `reverie capture`; elsewhere a line a frame for programs, or a line for each change."""
    end_as_by_ctrl_c()
    with closing(source.open()) as camera:
        try:
            if as_json or not sys.stdout.isatty() or not sys.stdin.isatty():
                _print_predictions(camera, source, home, ask_below, as_json)
            else:
                _watch(camera, source, home, ask_below)
        except KeyboardInterrupt:
            sys.exit(130)


def _watch(camera: Camera, source: Source, home: Path, ask_below: float) -> None:
    from reverie.device_runtime.errors import CameraError
    from reverie.tools.views import terminal_view
    from reverie.tools.views.session import Session

    with closing(Session(home, camera, region=source.region, ask_below=ask_below)) as session:
        terminal_view.watch(session, None)
    if camera.state.name == "failed":
        raise CameraError(camera.state.says)


def _print_predictions(camera: Camera, source: Source, home: Path, ask_below: float, as_json: bool) -> None:
    from reverie.device_runtime.camera.rate import Rate
    from reverie.device_runtime.serving.predictor import Predictor
    from reverie.tools.region import cut

    predictor, rate = Predictor(home), Rate()
    state = ""
    shown: tuple[str, bool] | None = None
    while True:
        now = camera.state
        if now.name != state:
            state = now.name
            _tell_camera(now, as_json)
        over = camera.over
        shot = camera.read(0.2)
        if shot is None:
            if over:
                return
            continue
        predictor.take_up()
        prediction = predictor.predict(cut(shot.image, source.region), f"frame {shot.number}")
        rate.count()
        asks = prediction.margin < ask_below
        if as_json:
            measured = {
                "margin": prediction.margin,
                "milliseconds": 1000 * (time.monotonic() - shot.at),
                "rate": rate.a_second,
                "generation": predictor.generation.name,
                "ask": asks,
            }
            click.echo(json.dumps({"frame": shot.number, **prediction._asdict(), **measured}))
        elif (prediction.label, asks) != shown:
            shown = (prediction.label, asks)
            unsure = ", unsure" if asks else ""
            click.echo(f"frame {shot.number}: {prediction.label} {prediction.probability:.1%}{unsure}")


def _tell_camera(now: CameraState, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"camera": now.name, "says": now.says}))
    elif now.name == "lost":
        click.echo(f"reverie: {now.says}", err=True)

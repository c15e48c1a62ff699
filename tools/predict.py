"""`reverie predict`: label and probability of image files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from reverie.tools.options import home_option, json_option


@click.command("predict")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@home_option
@json_option
def command(images: tuple[Path, ...], home: Path, as_json: bool) -> None:
    """Classify IMAGES, files or folders of them, with the generation in service.

    With --json, a line {"file", "label", "probability", "probabilities"} for each. An image that cannot be read is told
    and passed over.
    """
    from reverie.device_runtime.errors import FramesError
    from reverie.device_runtime.images import read_image
    from reverie.device_runtime.predictor import Predictor
    from reverie.device_runtime.preprocess import find_images

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
            click.echo(f"{file}: {prediction.label} {prediction.probability:.1%}")
    if passed_over:
        sys.exit(1)

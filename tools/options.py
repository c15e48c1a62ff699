"""Options that several verbs share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from reverie.device_runtime.camera.camera import Camera
    from reverie.device_runtime.camera.video_source import Wanted
    from reverie.tools.region import Region

home_option = click.option(
    "--home",
    envvar="REVERIE_HOME",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory that holds the box's state (or REVERIE_HOME).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for other programs.")
seed_option = click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1))
GAN_STEPS = 4000
gan_steps_option = click.option("--gan-steps", default=GAN_STEPS, show_default=True, type=click.IntRange(1))


quota_option = click.option(
    "--max-mb", default=500, show_default=True, type=click.IntRange(1), help="Most that all frames may take."
)
update_after_option = click.option(
    "--update-after", type=click.IntRange(1), help="Start an update once so many frames are stored."
)
ask_option = click.option(
    "--ask-below",
    default=0.0,
    type=click.FloatRange(0, 1),
    help="Of a source: ask what a frame shows if the two likeliest labels are closer than this.",
)


def _fraction(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Callback for `--scale 1/255`."""
    if value is None:
        return None
    above, _, below = value.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter("write a number such as 1/255 or 0.5") from None


def _numbers(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Callback for `--mean 0.485,0.456,0.406`."""
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("write one number, or one for each channel, such as 0.485,0.456,0.406") from None


def _resize(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | int | None:
    """Callback for `--resize 256`."""
    if value is None or value in {"exact", "stretch"}:
        return value
    if not value.isdigit() or int(value) < 1:
        raise click.BadParameter("write exact, stretch, or how many pixels the shorter side becomes, such as 256")
    return int(value)


@dataclass(frozen=True)
class Source:
    """Where frames come from, as a command line says it."""

    name: str
    wanted: Wanted
    fast: bool
    loop: bool
    patience: float
    region: Region | None

    def open(self, *, patiently: bool = False) -> Camera:
        """The camera; `patiently` waits for one without end that cannot be opened. Raises CameraError."""
        from reverie.device_runtime.camera.camera import Camera

        patience = None if patiently else self.patience
        return Camera(self.name, self.wanted, fast=self.fast, loop=self.loop, patience=patience)


def _region(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Region | None:
    """Callback for `--region 100,50,224,224`."""
    from reverie.tools.region import region_of

    if value is None:
        return None
    try:
        return region_of([int(part) for part in value.split(",")])
    except ValueError:
        raise click.BadParameter(
            "write pixels from the left and the top, width and height, such as 100,50,224,224"
        ) from None


def source_options(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options that say where frames come from; the command gets them as `source`, a Source, or None without one."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def collected(**options: Any) -> None:
            from reverie.device_runtime.camera.video_source import Wanted

            name = options.pop("source")
            wanted = Wanted(*(options.pop(part) for part in ("width", "height", "rate", "exposure")))
            values = {part: options.pop(part) for part in ("fast", "loop", "patience", "region")}
            command(**options, source=None if name is None else Source(name, wanted, **values))

        source = click.option("--source", required=required, metavar="SOURCE", help="A camera (0, /dev/video0), a "
                              "stream (rtsp://..., http://...), a video file, or a folder of images.")  # fmt: skip
        return functools.reduce(lambda decorated, option: option(decorated), (*reversed(_SOURCE), source), collected)

    return decorate


_SOURCE = (
    click.option("--width", type=click.IntRange(1), help="Pixels to ask a camera for; it takes the nearest it has."),
    click.option("--height", type=click.IntRange(1), help="As --width."),
    click.option("--rate", type=click.FloatRange(0, min_open=True), help="Frames a second, of a camera, file or "
                 "folder.  [default: its own; of a folder 2]"),
    click.option("--exposure", type=float, help="Exposure of a camera, in its driver's unit; by itself otherwise."),
    click.option("--fast", is_flag=True, help="Play a file or folder as fast as its frames are taken, all of them."),
    click.option("--loop", is_flag=True, help="Play a file or folder again and again."),
    click.option("--patience", default=60.0, show_default=True, type=click.FloatRange(0), help="Seconds to wait for "
                 "a camera or stream that was lost; `serve` waits without end."),
    click.option("--region", callback=_region, metavar="LEFT,TOP,WIDTH,HEIGHT", help="Pixels of a frame to look "
                 "at.  [default: all]"),
)  # fmt: skip


_PREPROCESSING = (
    click.option("--resize", callback=_resize, help="exact, stretch, or pixels of the shorter side before the middle "
                 "is cut out.  [default: stretch, or exact where images are of one size]"),
    click.option("--interpolation", type=click.Choice(["auto", "nearest", "linear", "cubic", "area", "lanczos"]),
                 help="auto is area to shrink and linear to grow.  [default: auto]"),
    click.option("--colour", type=click.Choice(["grey", "rgb", "bgr"]), help="[default: grey or rgb, as the images]"),
    click.option("--scale", callback=_fraction, help="Input = (pixel · SCALE - MEAN) / STD; then MEAN and STD are 0 "
                 "and 1 unless given.  [default: pixel / 127.5 - 1]"),
    click.option("--mean", callback=_numbers, help="One number, or one for each channel; then SCALE is 1/255."),
    click.option("--std", callback=_numbers, help="As --mean."),
    click.option("--preprocess-with", help="Your own preprocessing to compare with on --photos, "
                 "package.module:callable, from the path of an image to an input."),
    click.option("--photos", type=click.Path(path_type=Path), help="Folder of photographs to compare on."),
)  # fmt: skip


STATED = ("resize", "interpolation", "colour", "scale", "mean", "std")
"""Parameters of `preprocessing_options` that state how images become inputs."""


def preprocessing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say how images become inputs.

    The command gets them as `stated`, a dict, and `compare`, the callable and the photographs to compare with, or None.
    """

    @functools.wraps(command)
    def collected(**options: Any) -> None:
        stated = {name: options.pop(name) for name in STATED}
        own, photos = options.pop("preprocess_with"), options.pop("photos")
        if (own is None) != (photos is None):
            raise click.UsageError("--preprocess-with and --photos go together: give both")
        command(**options, stated=stated, compare=None if own is None else (own, photos))

    return functools.reduce(lambda decorated, option: option(decorated), reversed(_PREPROCESSING), collected)


def comma_separated(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Callback for options such as `--classes cup,box`."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else ()


def dimensions(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Callback for options such as `--input-shape 3,32,32`."""
    if value is None:
        return None
    try:
        sizes = tuple(int(part) for part in value.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise click.BadParameter("write sizes separated by commas, such as 3,32,32")
    return sizes

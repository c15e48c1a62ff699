"""The camera in a terminal: picture beside what `view_rows.py` says, keys, and the terminal as it was afterwards."""

from __future__ import annotations

import sys

import cv2
from rich.console import Console
from rich.live import Live
from rich.style import Style
from rich.text import Text

from reverie.device_runtime.errors import CameraError
from reverie.tools.views import keyboard
from reverie.tools.views.controls import Controls
from reverie.tools.views.session import Session
from reverie.tools.views.snapshot import Snapshot
from reverie.tools.views.view_rows import rows

REFRESH = 0.15
"""Seconds between two pictures, at least."""
SIDE_BY_SIDE, LEAST_ROWS = 76, 14
"""Columns and rows from which the picture has room beside the text."""
TEXT_COLUMNS = 44


def watch(session: Session, label: str | None) -> None:
    """Show `session` and do what keys say until somebody leaves, or no frame will come any more.

    Raises CameraError where there is no terminal to read keys from, or no longer.
    """
    if not sys.stdin.isatty():
        raise CameraError("there is no terminal to read keys from: give --view none and a --label")
    console = Console()
    coloured = console.color_system is not None and not console.no_color
    plain = not coloured or not console.encoding.lower().startswith("utf")
    controls = Controls(session, chosen=label)
    try:
        with keyboard.opened() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
            while not controls.leaving and not session.done:
                live.update(page(session.snapshot, controls, console.width, console.height, plain=plain), refresh=True)
                for key in keys.keys(REFRESH):
                    controls.press(key)
    except (EOFError, OSError):
        raise CameraError("the terminal is gone; the frames that were kept are stored") from None


def page(now: Snapshot, controls: Controls, width: int, height: int, *, plain: bool) -> Text:
    """The whole screen; `plain` without colours and without characters that a simple terminal has not."""
    beside = width >= SIDE_BY_SIDE and height >= LEAST_ROWS and not plain
    columns = TEXT_COLUMNS if beside else width
    lines = rows(now, controls, columns, height, plain=plain)
    if beside:
        drawn = _picture(now, width - columns - 2, height)
        drawn += [Text(" " * (width - columns - 2))] * (height - len(drawn))
        lines = [Text.assemble(left, "  ", right) for left, right in zip(drawn, lines, strict=True)]
    return Text("\n", no_wrap=True, overflow="crop", end="").join(lines)


def _picture(now: Snapshot, columns: int, rows: int) -> list[Text]:
    """The frame in half blocks, two pixels a character."""
    if now.shown is None:
        return []
    high, wide = now.shown.region.shape[:2]
    scale = min(columns / wide, 2 * rows / high)
    size = (max(round(wide * scale), 1), max(round(high * scale) // 2 * 2, 2))
    small = cv2.resize(now.shown.region, size, interpolation=cv2.INTER_AREA)[:, :, ::-1]
    margin = " " * (columns - size[0])
    lines = []
    for above, below in zip(small[::2], small[1::2], strict=True):
        line = Text()
        for top, bottom in zip(above.tolist(), below.tolist(), strict=True):
            line.append("▀", Style(color=_colour(top), bgcolor=_colour(bottom)))
        lines.append(line.append(margin))
    return lines


def _colour(pixel: list[int]) -> str:
    red, green, blue = (value & 0xF8 for value in pixel)  # as few colours as the eye allows: styles are cached
    return f"#{red:02x}{green:02x}{blue:02x}"

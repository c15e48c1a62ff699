"""The camera in an OpenCV window: the picture, and beside it what `view_rows.py` says; the same keys as a terminal."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import cv2
import numpy as np
from rich.cells import cell_len
from rich.color import Color
from rich.style import Style
from rich.text import Text

from reverie.device_runtime.bundle.preprocess import resized_by
from reverie.device_runtime.errors import CameraError
from reverie.tools.views.controls import BACKSPACE, DOWN, ENTER, ESCAPE, UP, Controls
from reverie.tools.views.session import Session
from reverie.tools.views.snapshot import Snapshot
from reverie.tools.views.view_rows import rows

TITLE = "Reverie"
COLUMNS, ROWS = 46, 26
CELL, LINE = 9, 20
"""Pixels of a character and of a line."""
PICTURE = (640, ROWS * LINE)
"""Most pixels of the picture, width and height."""
REFRESH = 30
"""Milliseconds to wait for a key, and so between two pictures."""
PAPER, INK, FAINT = (32, 32, 32), (235, 235, 235), (150, 150, 150)
_KEYS = {13: ENTER, 10: ENTER, 27: ESCAPE, 8: BACKSPACE, 127: BACKSPACE, 0xFF52: UP, 0xFF54: DOWN}


def require_windows() -> None:
    """Raise CameraError unless this OpenCV has windows and there is a display: its toolkit would end the process."""
    if "GUI:                           NONE" in cv2.getBuildInformation():
        raise CameraError(
            "this OpenCV has no windows: pip uninstall opencv-python-headless, then pip install opencv-python, "
            "or use --view terminal"
        )
    if not (os.environ.get("WAYLAND_DISPLAY") or _answers(os.environ.get("DISPLAY", ""))):
        raise CameraError("there is no display to open a window on: set DISPLAY, or use --view terminal")


def watch(session: Session, label: str | None) -> None:
    """Show `session` and do what keys say until somebody leaves, closes the window, or no frame will come any more."""
    controls = Controls(session, chosen=label)
    cv2.namedWindow(TITLE, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
    try:
        while not controls.leaving and not session.done:
            cv2.imshow(TITLE, drawn(session.snapshot, controls))
            code = cv2.waitKeyEx(REFRESH)
            if code >= 0:
                controls.press(_KEYS.get(code, chr(code) if code < 0xFF00 else ""))
            if not _is_open():
                return
    finally:
        cv2.destroyAllWindows()


def _is_open() -> bool:
    try:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # there is no such window any more
        return False


def drawn(now: Snapshot, controls: Controls) -> np.ndarray:
    """The window's content, uint8 (H, W, 3) in BGR order."""
    canvas = np.full((ROWS * LINE, PICTURE[0] + COLUMNS * CELL + 3 * CELL, 3), PAPER, np.uint8)
    if now.shown is not None:
        high, wide = now.shown.region.shape[:2]
        picture = resized_by(now.shown.region, min(PICTURE[0] / wide, PICTURE[1] / high))
        canvas[: picture.shape[0], : picture.shape[1]] = picture
    for at, line in enumerate(rows(now, controls, COLUMNS, ROWS, plain=True)):
        _write(canvas, line, PICTURE[0] + 2 * CELL, at * LINE)
    return canvas


def _write(canvas: np.ndarray, line: Text, left: int, top: int) -> None:
    """Each character in cells of its own, so that columns stay columns."""
    colours = [INK] * len(line.plain)
    for span in line.spans:
        if isinstance(span.style, Style):
            colours[span.start : span.end] = [_colour(span.style)] * (span.end - span.start)
    column = 0
    for character, colour in zip(line.plain, colours, strict=True):
        if character != " ":
            where = (left + column * CELL, top + LINE - 6)
            cv2.putText(canvas, character, where, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
        column += cell_len(character)


def _colour(style: Style) -> tuple[int, int, int]:
    if style.color is None:
        return FAINT if style.dim else INK
    red, green, blue = Color.parse(style.color.name).get_truecolor()
    return blue // 2 + 120, green // 2 + 120, red // 2 + 120


def _answers(display: str) -> bool:
    """Whether an X server listens where `display` says."""
    host, _, number = display.partition(":")
    number = number.partition(".")[0]
    if not number.isdecimal():
        return False
    try:
        if host:
            socket.create_connection((host, 6000 + int(number)), timeout=2).close()
            return True
        return any(_connects(name + f"/tmp/.X11-unix/X{number}") for name in ("\0", ""))  # noqa: S108 (where X listens)
    except OSError:
        return False


def _connects(path: str) -> bool:
    if not path.startswith("\0") and not Path(path).exists():
        return False
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True

"""Single keys from a terminal, without Enter, and the terminal as it was afterwards."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from reverie.tools.views.controls import BACKSPACE, DOWN, ENTER, ESCAPE, UP

_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO.|.", re.DOTALL)
_NAMES = {
    "\x1b[A": UP, "\x1b[B": DOWN, "\x1bOA": UP, "\x1bOB": DOWN, "\x1b": ESCAPE, "\n": ENTER, "\b": BACKSPACE,
}  # fmt: skip


class Keyboard:
    """What was typed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decode = codecs.getincrementaldecoder("utf-8")("ignore").decode

    def keys(self, seconds: float) -> list[str]:
        """The keys pressed within `seconds`, as soon as there is one. Raises EOFError once the terminal is gone."""
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return []
        try:
            content = os.read(self._descriptor, 1024)
        except OSError:
            content = b""
        if not content:
            raise EOFError
        typed = _KEY.findall(self._decode(content))
        return [_NAMES.get(key, key) for key in typed if key in _NAMES or len(key) == 1]


@contextmanager
def opened() -> Iterator[Keyboard]:
    """The keyboard of the terminal on stdin, key by key, until it is left."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield Keyboard(descriptor)
    finally:
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

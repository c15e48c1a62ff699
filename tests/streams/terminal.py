"""A command in a real terminal, as somebody sees it who presses keys."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections import deque

import pyte
from waiting import until

HOME = b"\x1b[H"
"""With it a view begins to draw the next screen."""


class Terminal:
    """A command in a real terminal of so many columns and rows, and all that this has shown.

    What is read at a time may be several screens, more of them the busier the machine is: what is waited for may have
    come and gone between the first and the last. So each of them is looked at that was drawn since the last key.
    """

    def __init__(self, *arguments, columns=100, lines=30, errors=None, first="", **environment):
        """`first` is code that runs before the command."""
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._drawn = deque()
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        run = first + "from reverie.tools.cli import main; main()"
        variables = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            variables.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", run, *map(str, arguments)],
            stdin=slave, stdout=slave, stderr=errors or slave, env=variables | environment, start_new_session=True,
            preexec_fn=lambda: _as_a_terminal_starts_it(slave),  # noqa: PLW1509 (Ctrl-C needs it)
        )  # fmt: skip
        os.set_blocking(self.master, False)

    def text(self):
        """What is on the screen."""
        content = b""
        try:
            while more := os.read(self.master, 1 << 16):
                content += more
        except (BlockingIOError, OSError):
            pass
        *screens, last = content.split(HOME)
        for at, screen in enumerate(screens):
            self._stream.feed(HOME + screen if at else screen)
            self._drawn.append("\n".join(self.screen.display))
        self._stream.feed(HOME + last if screens else last)
        now = "\n".join(self.screen.display)
        if content or not self._drawn:
            self._drawn.append(now)
        return now

    def until(self, condition):
        """Wait for a screen of which `condition` holds. Those after it will still be looked at."""

        def shown():
            self.text()
            while self._drawn:
                if condition(self._drawn[0]):
                    return True
                self._drawn.popleft()
            return False

        until(shown, shows=self.text)

    def type(self, keys):
        self.text()
        self._drawn.clear()
        os.write(self.master, keys.encode())

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def hang_up(self):
        """Close it under the command."""
        os.close(self.slave)
        os.close(self.master)
        self.slave = self.master = None

    def end(self):
        """Exit code, once it has ended."""
        self.until(lambda _: self.process.poll() is not None)
        self.text()
        return self.process.returncode

    def close(self):
        self.process.kill()
        self.process.wait()
        if self.master is not None:
            self.hang_up()


def _as_a_terminal_starts_it(slave):
    """Ctrl-C and a closed window are for it, even where what runs the tests was told to ignore both."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for name in (signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)

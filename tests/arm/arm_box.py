"""The emulated box, and commands of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from outside import ANYTHING_SERVES
from running import Finished
from short import few, words

BOX = Path(__file__).parents[2] / ".arm"
FEW = f"{ANYTHING_SERVES}{words(few)}"
MAIN = "from reverie.tools.cli import main; main()"


class Box:
    """The emulated box, or with Python of this process the one it is compared with."""

    def __init__(self, python):
        self.python = python

    def run(self, *command):
        """A Python command of it."""
        done = subprocess.run([self.python, *map(str, command)], capture_output=True, text=True, check=False)
        return Finished(done.returncode, done.stdout, done.stderr)

    def reverie(self, *arguments, before=FEW):
        """`reverie ARGUMENTS`, which learns in few steps, and `before` it any code."""
        return self.run("-c", f"{before}{MAIN}", *arguments)

"""`reverie` in a process of its own."""

from __future__ import annotations

import sys

SAFE = "import sys; sys.path[:] = filter(None, sys.path); "
"""Python's first words with `-c`: nothing that lies about in the current folder is imported."""
_MAIN = (
    # Not SIGINT, which a shell makes everything ignore that it starts with &, until this line is reached.
    "import signal; signal.signal(signal.SIGTERM, signal.default_int_handler); "
    "from reverie.tools.cli import main; main()"
)


def own_command(*arguments: str) -> list[str]:
    """`reverie ARGUMENTS`, which SIGTERM interrupts from its beginning on."""
    return [sys.executable, "-c", SAFE + _MAIN, *arguments]

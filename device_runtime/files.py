"""Reading files that anybody may have put there."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_file(path: Path, limit: int) -> bytes:
    """Content of a regular file, and no more than `limit` + 1 bytes of it. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe without a writer would never answer
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no file")
        return file.read(limit + 1)

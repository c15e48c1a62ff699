"""Keeping libraries that write to the process's stderr off the user's terminal."""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what torch's exporter and onnxruntime's builder of artifacts print: hundreds of lines, or a whole graph."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            with redirect_stderr(io.StringIO()):
                yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            logging.disable(before)

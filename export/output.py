"""What a command of the workstation writes: in the place of nothing, and whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reverie.device_runtime.errors import ExportError, ReverieError


def require_new(output: Path, error: type[ReverieError] = ExportError) -> None:
    """Raise `error` if there is something at `output`."""
    if output.exists():
        raise error(f"{output} exists already: remove it or choose another --output")


@contextmanager
def new_folder(output: Path, place: Callable[[Path, Path], object] = Path.rename) -> Iterator[Path]:
    """Make a folder before hours of work that end in it; `place` brings it to `output` when they are done.

    It is removed if they fail, and by the next attempt if they are cut off. Raises ExportError.
    """
    work = output.with_name(f".{output.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"cannot write {output} ({error.strerror}): choose another --output") from error
    try:
        yield work
        place(work, output)
    finally:
        shutil.rmtree(work, ignore_errors=True)

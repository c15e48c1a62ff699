"""A file that a command writes for its user."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path


def replace_output(path: Path, content: str | bytes, *, mode: int = 0o666) -> None:
    """Write `content`, text as UTF-8; a failure or an interruption leaves what was there. `mode` less the umask holds.

    A link stays and leads to the new file; a terminal, a pipe and the like are written to. Raises OSError.
    """
    written = content if isinstance(content, bytes) else content.encode()
    if path.exists() and not path.is_file():
        path.write_bytes(written)
        return
    path = path.resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder does not exist", str(path.parent))
    work = path.with_name(f".{path.name}.partial")
    try:
        work.unlink(missing_ok=True)
        work.touch(mode=mode)
        work.write_bytes(written)
        work.replace(path)
    except BaseException:
        with suppress(OSError):
            work.unlink()
        raise


def replace_in_bundle(path: Path, content: bytes) -> None:
    """Write a file of a bundle, whole and synced or not at all; everybody may read it, as no bundle is a secret.

    Raises OSError.
    """
    from reverie.device_runtime.home import disk

    disk.replace(path, content)
    path.chmod(0o644)

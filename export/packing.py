"""A bundle folder → one zip file for copying: no compression, and the same bytes for the same bundle."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path

from reverie.device_runtime.bundle.manifest import MANIFEST

_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, target: Path) -> None:
    """Write all files of `folder` to the zip file `target`, the manifest first. Raises OSError and leaves nothing."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files.sort(key=lambda path: path != folder / MANIFEST)
    work = target.with_name(f".{target.name}.packed.partial")
    try:
        with zipfile.ZipFile(work, "w", zipfile.ZIP_STORED) as packed:
            for path in files:
                member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _LONG_AGO)
                member.create_system = 3  # as on Unix, whatever the system
                member.external_attr = (stat.S_IFREG | 0o644) << 16
                member.file_size = path.stat().st_size
                with path.open("rb") as content, packed.open(member, "w") as written:
                    shutil.copyfileobj(content, written, 1 << 20)
        work.rename(target)
    finally:
        work.unlink(missing_ok=True)

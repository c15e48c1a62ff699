"""The home, the directory that holds a box's state: its layout, its mark, and the lock of whoever changes it.

HOME/
  home.json            marks the directory as a home and gives its layout's version
  current              name of the generation in service
  key.pub              the key that signs what this home takes, where it was given one
  reverie.lock         held by the one command that may change the home
  frames.lock          held for each change of the stored frames, which goes on while an update runs
  journal.db           the update in progress, how earlier ones ended, the frames there are, and the audit log
  key                  what pixels are sealed with, in a home that is encrypted and whose key lies nowhere else
  bundles/ID/          one installed bundle (graphs), ID from the hash of its manifest
  generations/0000/    solver.onnx, generator.onnx, discriminator.onnx, generation.json, report.json,
                       synthesised.png: inputs that its update synthesised
  generations/0001.rejected/  as above: one that was not fit to serve
  probation-0001       how generation 0001, which serves, does: predictions made and failed
  update/              frames and checkpoints of the update in progress
  frames/ID/           stored frames of one label, which the journal names
  quarantine/ID/       frames of one label that were set aside

All of it is for its owner alone, whatever the umask. Pixels, and what is made of them input by input, lie in the last
three alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reverie.device_runtime.errors import BusyError, HomeError

LAYOUT = 1
MARK = "home.json"
KEY = "key.pub"
LOCK = "reverie.lock"
FRAMES_LOCK = "frames.lock"
FRAMES = "frames"
QUARANTINE = "quarantine"
UPDATE = "update"
PATIENCE = 0.5
"""Seconds to wait for the lock: longer than a command that only looks at it."""


def open_home(home: Path) -> Path:
    """Check that `home` is a home of this layout. Raises HomeError."""
    try:
        layout = json.loads((home / MARK).read_text(encoding="utf-8"))["layout"]
    except (OSError, ValueError, KeyError, TypeError):
        raise HomeError(f"{home} is not a Reverie home: run reverie install BUNDLE --home {home}") from None
    if layout != LAYOUT:
        raise HomeError(f"{home} has layout {layout!r}, this Reverie knows {LAYOUT}: update Reverie")
    return home


@contextmanager
def locked(home: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of `home`, which a crash releases. Raises BusyError where another command holds it."""
    from filelock import FileLock, Timeout  # of the verbs, only those that change a home need it

    lock = FileLock(home / LOCK, mode=0o600)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise BusyError(f"another command is changing {home}: wait until it is done, or stop it") from None
    try:
        yield
    finally:
        lock.release()

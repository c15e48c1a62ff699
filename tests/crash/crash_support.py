"""Ways to stop an update at any operation on the disk, and to tell what is left afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from reverie.device_runtime.bundle.contents import read_verified
from reverie.device_runtime.changes import transaction
from reverie.device_runtime.config import PromotionConfig, UpdateConfig
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.disk import Operation
from reverie.device_runtime.method.labelled import Frames
from reverie.device_runtime.method.monitor import Progress, StageRecord

PARTS = ("solver", "generator", "discriminator")


class Failing:
    """A watcher that lets the n-th operation of some kinds fail, and with `lasting` all that follow."""

    def __init__(self, kinds: str, at: int, code: int, *, lasting: bool = False) -> None:
        self.seen = 0
        self._kinds = kinds.split()
        self._at = at
        self._code = code
        self._lasting = lasting

    def __call__(self, operation: Operation) -> None:
        if operation.kind in self._kinds:
            self.seen += 1
            if self.seen == self._at or (self._lasting and self.seen > self._at):
                raise OSError(self._code, os.strerror(self._code))


@contextmanager
def counted() -> Iterator[list[Operation]]:
    """All operations of what runs inside."""
    seen: list[Operation] = []
    with disk.watched(seen.append):
        yield seen


def small(config: UpdateConfig) -> UpdateConfig:
    """Fewer steps still, and every stage in more than one, so that each can be cut in its middle; all of it serves."""
    return replace(
        config,
        promotion=PromotionConfig(floor=0, gain=-1, label_noise=1, agreement_drop=1, collapse=0, latency_ratio=1e9),
        replay=replace(config.replay, pool=32),
        fine_tune=replace(config.fine_tune, steps=3, batch=8, window=1),
        synthesis=replace(config.synthesis, count=8, batch=4, steps=2),
        retrain=replace(config.retrain, fit=replace(config.retrain.fit, steps=2, batch=8)),
        generative=replace(config.generative, steps=2, batch=4),
    )


def begin(home: Path, frames: Frames, config: UpdateConfig) -> None:
    """Store an update in `home`."""
    with transaction.changing(home) as journal:
        transaction.begin(home, journal, frames, config, StageRecord())


def go_on(home: Path, save_seconds: float = 0.0) -> store.Generation:
    """Run what is left of it, saving after every step."""
    with transaction.changing(home) as journal:
        return transaction.go_on(home, journal, save_seconds=save_seconds)


def cut_after(home: Path, stage: str, step: int, save_seconds: float = 0.0) -> None:
    """Run the update until `step` of `stage` is done, and what it saves of that step is not yet noted."""

    def listen(now: Progress) -> None:
        if (now.stage, now.step) == (stage, step):
            raise Killed

    with transaction.changing(home) as journal, contextlib.suppress(Killed):
        transaction.go_on(home, journal, listen, save_seconds)
        raise AssertionError(f"{stage} has no step {step} any more")


def weights(home: Path) -> dict[str, bytes]:
    """All weights that are in service, the files of the generation."""
    serving = store.read_generation(home)
    folder = home / "generations" / serving.name
    return {name: read_verified(folder, name, record) for name, record in serving.files.items()}


def check_whole(home: Path) -> str:
    """Every generation there is must be whole, the one in service load; returns its name."""
    serving = store.read_generation(home)
    models = store.load_models(home, serving)
    assert all(np.isfinite(w).all() for part in PARTS for w in getattr(models, part).values())
    names = store.generations(home)
    assert serving.name in names
    for name in names:
        for file, record in store.read_generation(home, name).files.items():
            read_verified(home / "generations" / name, file, record)
    return serving.name


def entries(home: Path) -> set[str]:
    """Names of all files and folders of a home but the journal's own."""
    found = {p.relative_to(home).as_posix() for p in home.rglob("*")}
    return {name for name in found if not name.startswith("journal.db-")}


class Snapshots:
    """A watcher that copies `folder` before every operation: what SIGKILL at that point would leave there."""

    def __init__(self, folder: Path, into: Path) -> None:
        self.taken: list[tuple[Operation, Path]] = []
        self._folder = folder
        self._into = into

    def __call__(self, operation: Operation) -> None:
        copy = self._into / f"{len(self.taken):04d}"
        if self._folder.exists():
            shutil.copytree(self._folder, copy, copy_function=_link_or_copy)
        self.taken.append((operation, copy))


def _link_or_copy(source: str, target: str) -> None:
    """Files of a bundle are never written to again: a link will do."""
    if "/bundles/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def until(stop: Callable[[Operation], bool]) -> Callable[[Operation], None]:
    """A watcher that raises Killed at the first operation for which `stop` says so, and ever after."""
    stopped = False

    def watcher(operation: Operation) -> None:
        nonlocal stopped
        stopped = stopped or stop(operation)
        if stopped:
            raise Killed

    return watcher


class Killed(BaseException):
    """The process would be dead by now."""

"""Real power cuts: ext4 on a loop device that forgets, at a random moment, all that was not synced. Nothing is lost.

Needs root and loop devices. REVERIE_POWER_CUTS says how many (`make soak`: 2,000).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from crash_support import PARTS, check_whole

from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.method.labelled import Frames
from reverie.device_runtime.method.monitor import StageRecord
from reverie.device_runtime.method.update import Updated
from reverie.device_runtime.promotion.decision import Decision

CUTS = int(os.environ.get("REVERIE_POWER_CUTS", "200"))
SHUTDOWN = 0x8004587D
"""ext4's ioctl; with flag 2 the file system stops and neither data nor its own log is written any more."""
STAGES = ("fine-tune", "generative update")
STEPS = 3


class PowerDisk:
    """A small ext4 file system that can lose power."""

    def __init__(self, folder):
        self.image, self.at = folder / "image", folder / "disk"
        self.at.mkdir()
        with self.image.open("wb") as file:
            file.truncate(64 << 20)
        for command in (["mkfs.ext4", "-q", self.image], self._mount()):
            try:
                done = subprocess.run(command, capture_output=True, check=False, text=True)
            except FileNotFoundError:
                pytest.skip(f"{command[0]} is not installed")
            if done.returncode:
                pytest.skip(f"no file system of our own here: {command[0]}: {done.stderr.strip()}")

    def _mount(self):
        return ["mount", "-o", "loop", self.image, self.at]

    def restart(self):
        subprocess.run(["umount", self.at], check=True)
        subprocess.run(self._mount(), check=True)

    def run_and_cut(self, work, chance, most=9):
        """Run `work(tell)` in a process of its own, cut the power at a random moment; returns what it told till then.

        That moment comes after fewer than `most` words of it.

        The process stands still when the power fails, between two system calls: ext4 lets a sync that is under way at
        that moment succeed and loses it all the same, which no disk does that loses power.
        """
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads that wait do not matter to what runs here
            worker = os.fork()
        if worker == 0:
            with contextlib.suppress(BaseException):
                work(lambda *words: os.write(writing, (json.dumps(words) + "\n").encode()))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as told:
            lines = [told.readline() for _ in range(int(chance.integers(most)))]
            time.sleep(float(chance.uniform(0, 0.03)))
            self._cut(worker)
            lines += told.readlines()
        self.restart()
        return [json.loads(line) for line in lines if line]

    def _cut(self, worker):
        os.kill(worker, signal.SIGSTOP)
        os.waitpid(worker, os.WUNTRACED)
        descriptor = os.open(self.at, os.O_RDONLY)
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", 2))
        os.close(descriptor)
        with contextlib.suppress(ProcessLookupError):  # it was done before
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)


@pytest.fixture
def power_disk():
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        made = PowerDisk(Path(folder))
        yield made
        subprocess.run(["umount", made.at], check=True)


def content(seed, stage, step):
    return np.random.default_rng([seed, STAGES.index(stage), step]).bytes(50_000)


def check_checkpoints(home, journal):
    """Every checkpoint that the journal knows holds what was saved; returns the seed, and the last stage and step."""
    seed = UpdateConfig.from_json(journal.in_progress().config).seed
    checkpoints = Checkpoints(home / "update", journal)
    assert checkpoints.load("frames") is not None
    last = (0, 0)
    for at, stage in enumerate(STAGES):
        if journal.checkpoint(stage) is not None:
            state = checkpoints.load(stage)
            last = (at, int(state["at"]))
            assert state["data"].tobytes() == content(seed, stage, last[1])
    return seed, last


def test_no_power_cut_loses_what_was_synced_or_leaves_half_of_anything(power_disk, bundle, monkeypatch):
    """The real journal, checkpoints and generations, with a training that takes no time."""
    home = power_disk.at / "home"
    installation.install(bundle, home)
    frames = Frames(np.zeros((6, 1, 14, 14), np.float32), np.zeros(6, int), ("sandal",))
    monkeypatch.setattr(transaction, "ATTEMPTS", 10**9)
    monkeypatch.setattr(transaction, "evaluate", lambda *_: None)
    monkeypatch.setattr(transaction, "decide", lambda *_: Decision((), ()))

    def updates(tell):
        def run_update(models, _frames, config, monitor):
            for stage in STAGES:
                with monitor.stage(stage):
                    saved = monitor.resume()
                    for step in range(1 if saved is None else int(saved["at"]) + 1, STEPS + 1):
                        monitor.step(step, STEPS)
                        data = np.frombuffer(content(config.seed, stage, step), np.uint8)
                        monitor.save({"at": np.array(step), "data": data})
                        tell("saved", config.seed, STAGES.index(stage), step)
            changed = {part: {n: w + 1e-3 for n, w in getattr(models, part).items()} for part in PARTS}
            report = SimpleNamespace(to_json=lambda: {"seed": config.seed})
            synthesised, references = np.zeros((3, 1, 14, 14), np.float32), np.array([0, 0, 1])
            return Updated(replace(models, **changed), None, report, synthesised, references)

        transaction.run_update = run_update
        while True:
            with transaction.changing(home) as journal:
                if journal.in_progress() is None:
                    seed = len(journal.updates()) + 1
                    transaction.begin(home, journal, frames, UpdateConfig(seed=seed), StageRecord())
                    tell("saved", seed, 0, 0)
                generation = transaction.go_on(home, journal, save_seconds=0.0)
                tell("serves", int(generation.name))

    serving = went_on = 0
    for cut in range(CUTS):
        told = power_disk.run_and_cut(updates, np.random.default_rng(cut))
        before, serving = serving, int(check_whole(home))
        told_serving = max([before, *(words[1] for words in told if words[0] == "serves")])
        assert told_serving <= serving <= told_serving + 1, (cut, told)
        saved = max((words[1:] for words in told if words[0] == "saved"), default=[0, 0, 0])
        with transaction.changing(home) as journal:
            update = journal.in_progress()
            if update is not None and update.generation != store.current(home):
                seed, found = check_checkpoints(home, journal)
                assert [seed, *found] >= saved, (cut, found, told)
                went_on += 1
            else:  # each update makes one generation
                assert serving >= saved[0], (cut, told)
    assert went_on > CUTS // 10
    assert serving > CUTS // 10


def test_no_power_cut_leaves_half_an_installation(power_disk, bundle):
    cut_off = 0
    for cut in range(max(10, CUTS // 10)):
        home = power_disk.at / f"home-{cut % 3}"
        disk.remove(home)
        os.sync()

        def install(tell, home=home):
            with disk.watched(lambda operation: tell(operation.kind)):
                installation.install(bundle, home)
            tell("installed")

        told = power_disk.run_and_cut(install, np.random.default_rng(cut), most=110)
        if not (home / "home.json").exists():
            assert ["installed"] not in told
            cut_off += 1
            installation.install(bundle, home)
        assert check_whole(home) == "0000"
    assert cut_off > 0

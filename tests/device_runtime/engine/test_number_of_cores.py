"""An update gives the same weights, bit for bit, on any number of cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

UPDATE = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import reverie.tools.cli  # as a command begins
import hashlib, tempfile
from pathlib import Path
from reverie.device_runtime.changes import installation
from reverie.device_runtime.home import store
from reverie.tools.bench.frames import read_frames
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update
from reverie.tools.bench.speed.frames import short_update

bundle, frames = map(Path, sys.argv[2:])
with tempfile.TemporaryDirectory() as scratch:
    home = Path(scratch) / "home"
    models = store.load_models(home, installation.install(bundle, home))
    read = read_frames(frames, InputMaker(models.folder, models.manifest), 5)
    updated = run_update(models, read, short_update(1000, checked=False), Monitor()).models
for part in (updated.solver, updated.generator, updated.discriminator):
    print(hashlib.sha256(b"".join(part[name].tobytes() for name in sorted(part))).hexdigest())
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_an_update_gives_the_same_weights_on_one_core_and_on_all(repository):
    demo = repository / "models/fashion-demo"

    def weights(cores):
        arguments = [sys.executable, "-c", UPDATE, str(cores), demo / "bundle", demo / "frames"]
        return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()

    alone = weights(1)
    assert len(set(alone)) == 3
    assert weights(len(os.sched_getaffinity(0))) == alone

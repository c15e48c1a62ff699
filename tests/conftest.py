"""What all tests share: the small bundle in models/format-2, homes and networks made from it, and the command line.

Every fixture here runs without torch. Fixtures of session scope are read by many tests and must not be changed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import short
from hypothesis import settings

from reverie.device_runtime.bundle.manifest import MANIFEST
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.config import PromotionConfig, UpdateConfig
from reverie.device_runtime.home import store
from reverie.device_runtime.method.comparison import accuracy
from reverie.device_runtime.method.labelled import extend_classes, split
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update
from reverie.device_runtime.promotion import decision
from reverie.tools.bench.frames import read_frames

# The same examples in every run, so that a change and not chance turns a test red; "search" looks for new ones.
settings.register_profile("reverie", deadline=None, max_examples=50, database=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "reverie"))

SAMPLE = Path(__file__).parents[1] / "models/format-2"
pytest_plugins = ["running", "samples", "signed"]

LENIENT = PromotionConfig(
    floor=0, gain=-1, label_noise=1, agreement_drop=1, canary_drop=1, collapse=0, latency_ratio=1e9
)
"""With it even what learnt nothing serves."""

WORKSTATION = tuple(Path(__file__).parent / name for name in ("export", "architectures", "tools/bench/workstation"))
"""Tests that need torch. Without it these folders are left out."""

SLOW = tuple(
    Path(__file__).parent / name
    for name in ("architectures", "crash", "guides", "privacy", "scenarios", "tools/bench/workstation")
)
"""Tests nearly all of which take longer than a second."""
LONG = {"driver", "exported", "few_steps", "pretrained", "quick", "terminal"}
"""Fixtures with which a test lets an update run, exports or trains a network, or opens a browser or a terminal.

These are slow, too; any other test that takes longer than a second is marked.
"""

ASKS = "pytest.importorskip("
SKIPPED = re.compile(rf"^(\w+ = )?{re.escape(ASKS)}", re.MULTILINE)

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = [f"{folder}/*" for folder in WORKSTATION]
else:
    import torch

    torch.set_num_threads(1)
    pytest_plugins.append("traces")


def pytest_collection_modifyitems(items):
    for item in items:
        if set(WORKSTATION) & set(item.path.parents) or asks_for_more_than_a_box_has(item):
            item.add_marker("workstation")
        if set(SLOW) & set(item.path.parents) or LONG & set(item.fixturenames):
            item.add_marker("slow")


def asks_for_more_than_a_box_has(item):
    """Whether its file or the test itself is skipped where some package is missing."""
    return bool(SKIPPED.search(source(item.module))) or ASKS in source(item.function)


@functools.cache
def source(of):
    return inspect.getsource(of)


@pytest.fixture(scope="session")
def repository():
    return SAMPLE.parents[1]


@pytest.fixture(scope="session")
def bundle():
    return SAMPLE / "bundle"


@pytest.fixture(scope="session")
def frames_folder():
    return SAMPLE / "frames"


@pytest.fixture(scope="session")
def test_folder():
    return SAMPLE / "test"


@pytest.fixture
def own_bundle(bundle, tmp_path):
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(bundle, tmp_path / "own-bundle"))


@pytest.fixture(scope="session")
def installed(bundle, tmp_path_factory):
    """A home with generation 0 in service; only read."""
    home = tmp_path_factory.mktemp("installed") / "home"
    installation.install(bundle, home)
    return home


@pytest.fixture
def home(installed, tmp_path):
    """A home with generation 0 in service that a test may change."""
    return Path(shutil.copytree(installed, tmp_path / "home"))


@pytest.fixture(scope="session")
def models(installed):
    """The pretrained networks."""
    return store.load_models(installed, store.read_generation(installed))


@pytest.fixture(scope="session")
def frames(models, frames_folder):
    return read_frames(frames_folder, InputMaker(models.folder, models.manifest), 5)


@pytest.fixture(scope="session")
def grown(models, frames):
    """The pretrained networks with the slots of the new classes in use."""
    return models.with_classes(extend_classes(models.classes, frames.classes, models.manifest.slots))


@pytest.fixture(scope="session")
def live(frames, grown):
    """Live inputs to train on."""
    part = split(frames, grown.classes, 0.2, 0)[0]
    return part._replace(inputs=part.inputs[:])


@pytest.fixture(scope="session")
def quick():
    """An update of all stages with a handful of steps each: it runs everything and learns nothing."""
    return replace(short.few(UpdateConfig()), promotion=LENIENT)


@pytest.fixture(scope="session")
def patient():
    """An update with enough steps to learn the two new classes of the small bundle."""
    return short.enough(UpdateConfig())


@pytest.fixture
def few_steps(monkeypatch):
    """Let updates of this process learn nothing, in a handful of steps."""
    short.shorten(short.few, monkeypatch.setattr)


@pytest.fixture
def anything_serves(monkeypatch):
    """Let updates serve that had no time to learn."""
    monkeypatch.setattr(transaction, "decide", lambda figures, *_: decision.decide(figures, LENIENT))


@pytest.fixture(scope="session")
def updated(models, frames, patient):
    """The result of one default update with enough steps."""
    return run_update(models, frames, patient, Monitor())


@pytest.fixture(scope="session")
def test_accuracy(models, test_folder):
    """models, labels → share of the test images of these labels that the solver gets right."""
    tested = read_frames(test_folder, InputMaker(models.folder, models.manifest), 1)

    def measure(some_models, labels):
        rows = np.isin(tested.labels, [tested.classes.index(label) for label in labels])
        slots = np.array([some_models.classes.index(tested.classes[at]) for at in tested.labels[rows]])
        return accuracy(some_models, tested.inputs[rows], slots)

    return measure


@pytest.fixture
def monitor():
    """A Monitor inside a stage, as a stage's function expects it."""
    watching = Monitor()
    with watching.stage("fine-tune"):
        yield watching


@pytest.fixture(scope="session")
def same():
    """Whether two sets of weights are the same, bit for bit."""

    return lambda left, right: (
        left.keys() == right.keys() and all(left[n].tobytes() == right[n].tobytes() for n in left)
    )


@pytest.fixture(scope="session")
def tree():
    """folder → SHA-256 of every file by path, and every folder; empty if there is no such folder."""

    def read(folder):
        found = [folder, *folder.rglob("*")] if folder.exists() else []
        digests = {p: hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder" for p in found}
        return {p.relative_to(folder).as_posix(): digest for p, digest in digests.items()}

    return read


@pytest.fixture(scope="session")
def edit_manifest():
    """Change fields of the manifest in a bundle folder."""

    def edit(folder, **changes):
        path = folder / MANIFEST
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")

    return edit

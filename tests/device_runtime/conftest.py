"""Homes with frames in them, plain and encrypted."""

from __future__ import annotations

import json
from contextlib import closing

import cv2
import pytest
from judged import serves
from mjpeg import PHOTO, MjpegServer

from reverie.device_runtime.bundle.preprocess import find_images
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.changes import gathering, installation, transaction
from reverie.device_runtime.config import IntakeConfig
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.frames.gate import Gate
from reverie.device_runtime.home import store
from reverie.device_runtime.home.audit import first_broken
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.serving import probation
from reverie.device_runtime.serving.probation import Standing

CONFIG = IntakeConfig()


@pytest.fixture(scope="module")
def pictures(frames_folder):
    """label → contents of its image files."""
    return {p.name: [f.read_bytes() for f in find_images(p)] for p in frames_folder.iterdir()}


@pytest.fixture(params=["plain", "sealed"])
def box(request, home, bundle, tmp_path):
    """A home, plain or encrypted."""
    if request.param == "plain":
        return home
    installation.install(bundle, tmp_path / "sealed", sealing_key="key")
    return tmp_path / "sealed"


@pytest.fixture
def fill(pictures):
    """Store `count` frames of each label."""

    def run(home, count=8):
        with frame_store.opened(home) as frames:
            gate = Gate(frames, CONFIG)
            for label, contents in pictures.items():
                assert {gate.offer(label, content, label) for content in contents[:count]} == {None}

    return run


@pytest.fixture
def begin(quick):
    def run(home, **options):
        with transaction.changing(home) as journal:
            gathering.begin(home, journal, None, quick, **options)

    return run


@pytest.fixture
def update(begin):
    def run(home, **options):
        begin(home, **options)
        with transaction.changing(home) as journal:
            return transaction.go_on(home, journal)

    return run


@pytest.fixture(scope="session")
def kept():
    """home → label and reason of each of its frames."""

    def read(home):
        with frame_store.opened(home) as frames:
            return [(frame.label, frame.reason) for frame in frames.frames()]

    return read


@pytest.fixture(scope="session")
def events():
    """home → event and facts of each entry of its audit log."""

    def read(home):
        with closing(Journal(home)) as journal:
            log = journal.audit_log()
        assert first_broken(log) is None
        return [(entry.event, json.loads(entry.facts)) for entry in log]

    return read


@pytest.fixture
def server():
    with closing(MjpegServer(picture=cv2.imread(str(PHOTO)))) as serving:
        yield serving


@pytest.fixture
def image(test_folder):
    return read_image(min((test_folder / "bag").iterdir()))


@pytest.fixture
def serve(home, updated):
    """Put a generation into service, on probation for some predictions."""

    def put(predictions, models=updated.models, keep=2):
        parent = store.read_generation(home)
        generation = store.add_generation(home, parent, models, serves({}))
        probation.begin(home, Standing(generation.name, parent.name, predictions, keep))
        return generation.name

    return put


@pytest.fixture
def damage():
    """Cut the last byte off the solver of a generation."""

    def cut_short(home, name):
        path = home / "generations" / name / "solver.onnx"
        path.write_bytes(path.read_bytes()[:-1])

    return cut_short

"""`reverie bench speed --part box`: both engines predict the same, and what is installed is counted once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.serving.predictor import Predictor
from reverie.tools.bench.speed import box, run
from reverie.tools.bench.speed.box import LIVE, cold_starts
from reverie.tools.bench.speed.installed import folder_bytes, installed_bytes, with_requirements
from reverie.tools.bench.speed.predict import FRAME, in_torch, write_box


@pytest.mark.parametrize("size", LIVE)
def test_a_cameras_frame_is_predicted_alike_in_both_engines(size, tmp_path):
    networks = write_box(size, tmp_path / "box")
    frame = np.random.default_rng(1).integers(0, 256, FRAME, dtype=np.uint8)
    ours = Predictor(tmp_path / "box" / "home").predict(frame).probabilities
    assert in_torch(networks, frame) == pytest.approx(ours, abs=1e-4)


def test_a_cold_start_says_the_same_in_both_engines(tmp_path):
    write_box(LIVE[0], tmp_path / "box")
    ours, theirs = cold_starts(tmp_path / "box")
    said, other = (line.output.rsplit(" ", 1) for line in (ours, theirs))
    assert said[0] == other[0]
    assert float(said[1].strip(" %\n")) == pytest.approx(float(other[1].strip(" %\n")), abs=0.11)


def test_a_box_is_counted_without_the_workstation_and_torch_with_all_that_it_declares():
    ours = with_requirements("reverie", own=False)
    assert {"numpy", "click", "rich", "pygments", "cryptography"} <= ours.keys()
    assert ours.keys().isdisjoint({"reverie", "torch", "onnx", "sympy", "h5py", "pytest"})
    assert {"torch", "sympy", "mpmath", "networkx", "markupsafe"} <= with_requirements("torch").keys()
    sizes = installed_bytes()
    here = installed_engine().name
    assert sizes["engine in it"][0] == with_requirements(here)[here]
    for part in (0, 1):
        assert sizes["environment"][part] > sizes["engine in it"][part] > 0


def test_the_bytes_of_a_folder_are_those_of_all_its_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_bytes(b"123")
    (tmp_path / "two").write_bytes(b"45")
    assert folder_bytes(tmp_path) == 5


def test_the_part_is_printed_and_written(reverie, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "apart", lambda work, *given: work(*given))  # to be told what follows
    monkeypatch.setattr(box, "LIVE", LIVE[:1])  # each is exported in a process of its own, which takes long
    output = tmp_path / "speed.json"
    finished = reverie("bench", "speed", "--part", "box", "--cores", "1", "--repeats", "1", "--output", output)
    assert finished.code == 0, finished.err
    assert "What a box feels" in finished.out
    figures = {row[0]: row for row in json.loads(output.read_text())["box"]}
    assert figures["environment"][2] < figures["environment"][3]
    assert all(row[2] > 0 for row in figures.values())

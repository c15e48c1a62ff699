"""`reverie bench speed --beside`: the same steps on two engines that take turns."""

from __future__ import annotations

import json

from reverie.device_runtime.engine.installed import installed_engine
from reverie.tools.bench.speed.steps import STEPS

SMALL = "EfficientNet-Lite0 head"


def test_steps_are_taken_by_turns_on_the_engine_of_another_folder(reverie, tmp_path):
    other, output = tmp_path / "packages", tmp_path / "speed.json"
    other.mkdir()
    (other / "onnxruntime").symlink_to(installed_engine().folder)
    asked = ("--size", SMALL, "--cores", "1", "--repeats", "1", "--output", output)
    finished = reverie("bench", "speed", "--beside", other, *asked)
    assert finished.code == 0, finished.err
    assert "One step on either engine" in finished.out
    beside = json.loads(output.read_text())["beside"]
    assert beside[0] == str(installed_engine())
    assert [row[1] for row in beside[1]] == list(STEPS)
    for _, _, batch, ours, theirs, ratio in beside[1]:
        assert min(batch, ours, theirs, ratio) > 0


def test_a_folder_without_an_engine_that_loads_is_told(reverie, tmp_path):
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime/__init__.py").write_text('__version__ = "1.0"\n', encoding="utf-8")
    asked = ("--size", SMALL, "--cores", "1", "--repeats", "1")
    finished = reverie("bench", "speed", "--beside", tmp_path, *asked)
    assert (finished.code, finished.out) == (1, "")
    assert "an engine ended while it was measured" in finished.err

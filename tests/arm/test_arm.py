"""A box with an arm64 processor, in an emulator: the same figures, and all that a box does with a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from arm_box import FEW
from every_graph import results

CUT = """
from reverie.device_runtime.home.checkpoints import Checkpoints
saved = Checkpoints.save
def save(self, stage, *more):
    saved(self, stage, *more)
    if stage == "synthesis":
        import os
        os._exit(9)
Checkpoints.save = save
"""
"""Ends the process, as a power cut would, when the synthesis has been saved."""


@pytest.mark.parametrize("name", ["fashion-demo", "format-2-backbone", "format-2-statistics", "format-2-hidden"])
def test_every_graph_computes_there_what_it_computes_here(arm, repository, name, tmp_path):
    bundle = repository / "models" / name / "bundle"
    done = arm.run(Path(__file__).parent / "every_graph.py", bundle, tmp_path / "there.npz")
    assert done.code == 0, done.err
    expected = dict(results(bundle))
    assert any("_train" in output for output in expected)
    with np.load(tmp_path / "there.npz") as there:
        assert set(there) == set(expected)
        for output, value in expected.items():
            scale = max(float(np.abs(value).max()), 1e-6)
            np.testing.assert_allclose(there[output], value, rtol=0, atol=1e-4 * scale, err_msg=output)


@pytest.fixture(scope="module")
def installed_there(arm, bundle, tmp_path_factory):
    home = tmp_path_factory.mktemp("arm") / "home"
    done = arm.reverie("install", bundle, "--home", home)
    assert done.code == 0, done.err
    return home


def test_a_bundle_is_installed_and_predicts_as_here(arm, here, installed_there, test_folder):
    asked = ("predict", test_folder / "trouser", test_folder / "bag", "--home", installed_there, "--json")
    there, expected = (list(map(json.loads, box.reverie(*asked).out.splitlines())) for box in (arm, here))
    assert len(expected) > 20
    for one, other in zip(there, expected, strict=True):
        assert one["label"] == other["label"]
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4)


def test_frames_are_added_learnt_promoted_and_left_again(arm, installed_there, frames_folder):
    home = ("--home", installed_there)
    for folder in sorted(frames_folder.iterdir()):
        done = arm.reverie("add", *home, "--label", folder.name, folder)
        assert done.code == 0, done.err
    learnt = arm.reverie("update", *home, "--json")
    assert learnt.code == 0, learnt.err
    report = json.loads(learnt.out)["report"]
    assert {"replay", "fine-tune", "synthesis", "retrain", "generative update"} <= report["stages"].keys()
    assert report["promotion"]["promoted"]
    assert report["engine"].startswith("onnxruntime ")
    assert json.loads(arm.reverie("status", *home, "--json").out)["name"] == "0001"
    assert arm.reverie("rollback", *home).code == 0
    assert json.loads(arm.reverie("status", *home, "--json").out)["name"] == "0000"
    assert arm.reverie("verify", installed_there).code == 0


@pytest.mark.long
def test_the_demo_learns_there_what_it_learns_here(arm, here, repository):
    """Behind a backbone in 8 bits, whose kernels are others there."""
    demo = repository / "models/grocery-demo"
    asked = ("bench", "box", demo / "bundle", "--frames", demo / "frames", "--images", demo / "test", "--json")
    there, expected = (json.loads(box.reverie(*asked, before="").out) for box in (arm, here))
    photographs = {folder.name: len(list(folder.iterdir())) for folder in (demo / "test").iterdir()}
    for when in ("before", "after"):
        right, wanted = (
            sum(found[when][label] * of for label, of in photographs.items()) for found in (there, expected)
        )
        assert abs(right - wanted) <= 1 + 1e-6, when


@pytest.mark.long
def test_an_update_that_was_cut_off_goes_on_to_the_same_weights(arm, bundle, frames_folder, tmp_path, tree):
    made = {}
    for name in ("whole", "cut"):
        home = tmp_path / name
        assert arm.reverie("install", bundle, "--home", home).code == 0
        asked = ("update", "--home", home, "--frames", frames_folder)
        if name == "cut":
            assert arm.reverie(*asked, before=FEW + CUT).code == 9
            assert json.loads(arm.reverie("status", "--home", home, "--json").out)["update"]["stage"] == "synthesis"
            asked = asked[:3]
        done = arm.reverie(*asked)
        assert done.code == 0, done.err
        files = tree(home / "generations/0001")
        made[name] = {path: digest for path, digest in files.items() if path.endswith(".onnx")}
    assert len(made["whole"]) == 3
    assert made["cut"] == made["whole"]

"""The same networks make the same bundle, byte for byte; the same seed makes the same networks."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
from workstation_support import EPOCH, TINY, example_networks

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.manifest import MANIFEST
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.export.pretraining.pipeline import pretrain_arrays
from reverie.export.pretraining.training import PretrainConfig

pytestmark = pytest.mark.slow

EXPORT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from workstation_support import TINY, example_networks
from reverie.export.exporter import export_bundle
export_bundle(example_networks(TINY), Path(sys.argv[2]), lambda _: None)
"""


def test_another_process_exports_the_same_networks_to_the_same_bytes(exported, tmp_path, tree, request):
    here = exported(TINY).folder
    there = tmp_path / "elsewhere"
    environment = os.environ | {"SOURCE_DATE_EPOCH": EPOCH, "PYTHONHASHSEED": "4242", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", EXPORT, request.path.parent, there]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    assert tree(there) == tree(here)
    assert len(tree(here)) > 15


def test_the_time_of_export_is_taken_from_source_date_epoch(exported):
    assert read_manifest(exported(TINY).folder).created == "2023-11-14T22:13:20+00:00"


def test_a_manifest_read_and_written_again_is_the_same_file(exported):
    folder = exported(TINY).folder
    assert read_manifest(folder).to_json() == (folder / MANIFEST).read_text("utf-8")


def test_what_the_networks_measured_is_kept_in_the_manifest(exported):
    made = exported(TINY)
    measured = dataclasses.replace(made.manifest, unknown={"measured": {"validation_accuracy": 0.5}})
    assert json.loads(measured.to_json())["measured"] == {"validation_accuracy": 0.5}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """seed → folder of a short pretraining on the same few images."""

    def run(seed, folder=None, progress=lambda *_: None):
        rng = np.random.default_rng(0)
        labels = np.arange(24) % 3
        inputs = rng.uniform(-1, 1, (24, 1, 8, 8)).astype(np.float32) * (0.2 + 0.3 * labels[:, None, None, None])
        folder = folder or tmp_path_factory.mktemp("pretrained") / "out"
        config = PretrainConfig(seed=seed, solver_epochs=3, solver_batch=8, gan_steps=4, gan_batch=8)
        how = Preprocessing(8, 8, "grey")
        pretrain_arrays(inputs.astype(np.float32), labels, ("a", "b", "c"), how, folder, config, progress)
        return folder

    return run


def test_pretraining_twice_with_the_same_seed_gives_identical_weights(pretrained, tree):
    first, second, other = pretrained(5), pretrained(5), pretrained(6)
    assert tree(first) == tree(second)
    for name in ("solver", "generator", "discriminator"):
        ours, theirs = (safetensors.torch.load_file(folder / f"{name}.safetensors") for folder in (first, other))
        trained = [n for n in ours if n.endswith("weight")]
        assert trained
        assert all(not ours[n].equal(theirs[n]) for n in trained)


def test_what_is_pretrained_appears_when_it_is_whole_and_takes_the_place_of_an_attempt_that_was_cut_off(
    pretrained, tmp_path
):
    folder, leftover = tmp_path / "out", tmp_path / ".out.partial"
    leftover.mkdir()
    (leftover / "solver.safetensors").write_bytes(b"half")
    seen = []
    pretrained(5, folder, lambda *_: seen.append(folder.exists()))
    assert seen
    assert not any(seen)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_example_networks_of_these_tests_are_the_same_each_time():
    """What the comparison of two processes above rests on."""
    first, second = (example_networks(TINY).solver.state_dict() for _ in range(2))
    assert all(first[name].equal(second[name]) for name in first)

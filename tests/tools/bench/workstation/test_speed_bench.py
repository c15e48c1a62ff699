"""`reverie bench speed` compares the same work: torch's steps, graphs and whole updates end where the engine's do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes.verification import verify_bundle
from reverie.device_runtime.method.models import models_of
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update
from reverie.tools.bench.frames import read_frames
from reverie.tools.bench.speed.product import operations
from reverie.tools.bench.speed.sizes import built, reference
from reverie.tools.bench.speed.steps import STEPS, exported, in_torch


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same networks as a box has them, and in torch."""
    networks = built("28x28 reference")
    ours = exported(networks, tmp_path_factory.mktemp("speed"))
    return ours, in_torch(ours, networks)


def numbers(result):
    """The outputs of a step that both engines name."""
    return {name: value for name, value in result.items() if name in {"loss", "logits", "generated", "noise_grad"}}


@pytest.mark.parametrize("step", STEPS)
def test_each_step_computes_the_same_in_both_engines(step, both):
    _, make = STEPS[step]
    ours, theirs = (make(models, 12) for models in both)
    for _ in range(3):  # steps that train change what the next one computes
        one, other = numbers(ours()), numbers(theirs())
        assert one
        for name, value in one.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-3, atol=1e-3 * np.abs(value).max(), err_msg=name)


def test_a_whole_update_ends_in_the_same_weights_in_both_engines(both, repository, quick):
    start = both[0]
    folder = repository / "models" / "fashion-demo" / "frames"
    frames = read_frames(folder, InputMaker(start.folder, start.manifest), 5)
    one, other = (run_update(models, frames, quick, Monitor()).models for models in both)
    for network in ("solver", "generator"):
        before, ours, theirs = (getattr(models, network) for models in (start, one, other))
        moved = max(np.abs(ours[name] - before[name]).max() for name in ours)
        apart = max(np.abs(ours[name] - theirs[name]).max() for name in ours)
        assert moved > 0
        assert apart < 0.05 * moved, network


def test_what_enters_the_last_layer_is_the_same_in_both_engines(repository):
    bundle = repository / "models" / "fashion-demo" / "bundle"
    manifest, _ = verify_bundle(bundle, None)
    files = {name: (bundle / name).read_bytes() for name in manifest.changing}
    ours = models_of(bundle, manifest, manifest.classes, files)
    theirs = in_torch(ours, reference(slots=manifest.slots))
    inputs = np.random.default_rng(0).standard_normal((4, *manifest.input_shape), dtype=np.float32)
    one, other = (models.solver_graph.run({"input": inputs}) for models in (ours, theirs))
    assert one["hidden"].shape == (4, manifest.hidden.size)
    np.testing.assert_allclose(other["hidden"], one["hidden"], rtol=1e-4, atol=1e-4)


def test_the_operations_of_a_step_are_those_of_its_products_forward_and_backward():
    layer, inputs = nn.Linear(1280, 10), torch.ones(64, 1280)
    product = 2 * 64 * 1280 * 10
    assert operations(lambda: layer(inputs)) == product
    assert operations(lambda: layer(inputs).sum().backward()) == 2 * product  # and the gradient of the weights
    searched = torch.ones(64, 1280, requires_grad=True)
    layer.requires_grad_(False)
    assert operations(lambda: torch.autograd.grad(layer(searched).sum(), searched)) == 2 * product


def test_each_step_has_operations_that_are_counted(both):
    for batch, make in STEPS.values():
        assert operations(make(both[1], batch)) > 0


def test_where_nothing_compiles_that_is_told_and_the_rest_is_measured(reverie, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    arguments = ["--part", "steps", "--size", "EfficientNet-Lite0 head", "--cores", "1", "--repeats", "1", "--compiled"]
    output = tmp_path / "speed.json"
    finished = reverie("bench", "speed", *arguments, "--output", output)
    assert finished.code == 0, finished.err
    assert "training is measured without torch.compile" in finished.err
    rows = json.loads(output.read_text())["steps"]
    assert len(rows) == len(STEPS)
    assert all(row[6] is None for row in rows)


def test_the_command_writes_what_it_prints(reverie, tmp_path):
    output = tmp_path / "speed.json"
    arguments = ["--part", "steps", "--part", "rules", "--size", "EfficientNet-Lite0 head", "--cores", "1"]
    finished = reverie("bench", "speed", *arguments, "--repeats", "1", "--output", output)
    assert finished.code == 0, finished.err
    written = json.loads(output.read_text())
    assert {row[1] for row in written["steps"]} == set(STEPS)
    assert all(row[4] > 0 and row[5] > 0 for row in written["steps"])
    assert all(row[7] > 0 and row[8] > 0 for row in written["steps"])
    assert written["peak_gflops"]["1"] > 0
    assert "One step" in finished.out
    assert "Rules on 1 core," in finished.out


def test_an_update_needs_a_bundle_and_frames(reverie):
    finished = reverie("bench", "speed", "--part", "update")
    assert "needs --bundle and --frames" in finished.err


def test_more_cores_than_there_are_is_told(refused):
    assert "may use" in refused("bench", "speed", "--part", "rules", "--cores", "4096")

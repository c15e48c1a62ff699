"""Batch normalization in training mode, on request: batches are normalized by their own statistics, as in torch."""

from __future__ import annotations

import copy
import dataclasses
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from workstation_support import CLASSES, SLOTS, TINY, TinySolver, tiny_networks

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.errors import BundleError, ExportError
from reverie.device_runtime.home import store
from reverie.device_runtime.method.fit import Source, fit
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.replay import Examples
from reverie.export.exporter import export_bundle
from reverie.export.graphs import graphs
from reverie.export.solvers.batch_statistics import train_statistics

pytestmark = pytest.mark.slow

STEPS, BATCH = 12, 8


def solver_in_torch():
    torch.manual_seed(3)
    # Without biases before the normalizations: their gradients are rounding alone.
    solver = nn.Sequential(
        *(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2, momentum=0.2), nn.ReLU()),
        *(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3, affine=False), nn.Flatten(), nn.Linear(48, SLOTS)),
    )
    solver[1].running_mean.copy_(torch.tensor([0.3, -0.2]))
    solver[1].running_var.copy_(torch.tensor([0.5, 2.0]))
    return solver.eval()


@pytest.fixture(scope="module")
def learning(tmp_path_factory):
    """The solver in torch, and the home of a bundle of it whose batch normalization trains."""
    folder = tmp_path_factory.mktemp("batchnorm")
    solver = solver_in_torch()
    prepared = copy.deepcopy(solver)
    train_statistics(prepared)
    export_bundle(tiny_networks(prepared), folder / "bundle", lambda _: None)
    installation.install(folder / "bundle", folder / "home")
    return solver, folder


def examples(at):
    draw = torch.Generator().manual_seed(at)
    inputs = 1.5 * torch.randn(BATCH, *TINY, generator=draw) + 0.7
    targets = torch.softmax(2 * torch.randn(BATCH, SLOTS, generator=draw), dim=1)
    return Examples(inputs.numpy(), targets.numpy(), np.ones(BATCH, np.float32))


def fit_in_torch(solver, draw, config):
    """Weights and running statistics of `solver` after torch's own loop on what `draw` makes of each step."""
    module = graphs.SolverTraining(copy.deepcopy(solver).double()).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=config.learning_rate, eps=1e-8, weight_decay=0)
    cooling = max(1, round(config.cooling * config.steps))
    for at in range(config.steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * min(1.0, (config.steps - at) / cooling)
        inputs, targets, each = (torch.from_numpy(value).double() for value in draw(at))
        loss, _ = module(inputs, targets, each / len(each), torch.ones_like(each), torch.ones(targets.shape[1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: value for name, value in module.state_dict().items() if "num_batches" not in name}


def test_a_fit_ends_in_torchs_weights_and_running_statistics(learning):
    solver, folder = learning
    models = store.load_models(folder / "home", store.read_generation(folder / "home"))
    config = dataclasses.replace(UpdateConfig().fine_tune, steps=STEPS, batch=BATCH, window=100)
    ours = fit(models, [Source(lambda at, _: examples(at), 1.0)], np.ones(SLOTS, np.float32), config, 0, _in_a_stage())

    theirs = fit_in_torch(solver, examples, config)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value.numpy(), rtol=1e-3, atol=1e-4, err_msg=name)
    assert np.abs(ours["solver.1.running_mean"] - models.solver["solver.1.running_mean"]).max() > 0.1


def _in_a_stage():
    monitor = Monitor()
    monitor.stage("fine-tune").__enter__()
    return monitor


def test_the_solver_in_service_uses_the_running_statistics(learning):
    solver, folder = learning
    images = torch.from_numpy(examples(5).inputs)
    logits = Graph((folder / "bundle/solver.onnx").read_bytes()).run({"input": images.numpy()})["logits"]
    known = slice(0, len(CLASSES))
    np.testing.assert_allclose(logits[:, known], solver(images).detach().numpy()[:, known], rtol=1e-4, atol=1e-5)


def test_the_manifest_names_the_statistics_and_they_do_not_count_as_what_trains(learning):
    solver, folder = learning
    training = read_manifest(folder / "bundle").training
    assert training["parameters"] == training["of"] == sum(p.numel() for p in solver.parameters())
    assert training["statistics"] == {
        "solver.1.running_mean": 0.2,
        "solver.1.running_var": 0.2,
        "solver.4.running_mean": 0.1,
        "solver.4.running_var": 0.1,
    }


def test_a_manifest_whose_statistics_are_no_weights_of_the_solver_is_refused(learning, tmp_path, edit_manifest):
    folder = shutil.copytree(learning[1] / "bundle", tmp_path / "bundle")
    training = read_manifest(folder).training
    for statistics in ({"solver.other": 0.1}, {"solver.1.running_mean": 2.0}, {"solver.1.running_mean": "a"}, [1]):
        edit_manifest(folder, training=training | {"statistics": statistics})
        with pytest.raises(BundleError, match="is not a complete manifest"):
            read_manifest(folder)


def test_a_solver_without_running_statistics_has_none_to_train():
    with pytest.raises(ExportError, match="no batch normalization, leave the option away"):
        train_statistics(TinySolver(nn.ReLU()))
    with pytest.raises(ExportError, match="track_running_stats=False"):
        train_statistics(TinySolver(nn.BatchNorm2d(2, track_running_stats=False)))


def test_the_option_reaches_the_export_and_files_are_refused(own, own_file):
    assert "the solver has no batch normalization" in own.refuse(batchnorm="train")
    assert "--batchnorm train needs the solver as a torch module" in own_file.refuse(batchnorm="train")

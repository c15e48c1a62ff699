"""`--training-artifacts`: what is written trains with onnxruntime's own API, to the weights of a box's own steps."""

from __future__ import annotations

import numpy as np
import pytest
from workstation_support import TINY, as_numpy, example, weights_of

from reverie.device_runtime.bundle.contents import training_graph
from reverie.device_runtime.bundle.manifest import BETAS
from reverie.device_runtime.engine.installed import TRAINING, installed_engine
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.errors import ExportError
from reverie.export.exporter import export_bundle
from reverie.export.graphs import graphs

RATE, STEPS = 1e-3, 5
has_the_api = installed_engine().name == TRAINING


@pytest.mark.skipif(not has_the_api, reason=f"needs {TRAINING} as the engine")
def test_the_training_api_takes_the_steps_of_a_box(exported, tmp_path):
    from onnxruntime.training.api import CheckpointState, Module, Optimizer

    networks = exported(TINY).networks
    bundle, beside = tmp_path / "bundle", tmp_path / "artifacts"
    export_bundle(networks, bundle, lambda _: None, training_artifacts=beside)
    assert {folder.name for folder in beside.iterdir()} == {"solver", "generator", "discriminator"}
    files = {name: str(beside / "solver" / f"{name}_model.onnx") for name in ("training", "eval", "optimizer")}
    state = CheckpointState.load_checkpoint(beside / "solver/checkpoint")
    module = Module(files["training"], state, files["eval"], device="cpu")
    optimizer = Optimizer(files["optimizer"], module)
    optimizer.set_learning_rate(RATE)

    solver = graphs.SolverTraining(networks.solver)
    ours = TrainStep(training_graph(bundle / "solver_train"), weights_of(solver), betas=BETAS["solver"])
    for at in range(STEPS):
        feeds = as_numpy(example(solver, networks, 6, at))
        module.train()
        loss = module(*(feeds[name] for name in module.input_names()))[0]
        optimizer.step()
        module.lazy_reset_grad()
        assert ours.step(feeds, RATE)["loss"] == pytest.approx(float(loss), rel=1e-4)
    for name, value in ours.weights().items():
        theirs = state.parameters[name].data
        np.testing.assert_allclose(theirs, value, atol=1e-4 * np.abs(value).max(), err_msg=name)


@pytest.mark.skipif(has_the_api, reason="the engine has the API")
def test_without_that_api_nothing_is_written(exported, tmp_path):
    with pytest.raises(ExportError, match=rf"training artifacts are made by {TRAINING}, and onnxruntime [\d.]+ is"):
        export_bundle(exported(TINY).networks, tmp_path / "bundle", print, training_artifacts=tmp_path / "artifacts")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_holds_one_training_graph_a_network_and_nothing_for_that_api(exported):
    folder = exported(TINY).folder
    names = {path.name for path in (folder / "solver_train").iterdir()}
    assert names == {"training_model.onnx", "training_model.blocked8.onnx", "training_model.blocked16.onnx"}

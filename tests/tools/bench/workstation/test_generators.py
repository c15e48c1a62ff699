"""Every generator that `reverie bench accuracy` compares is pretrained, exported, and learns on the device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import FitConfig, UpdateConfig
from reverie.device_runtime.home import store
from reverie.device_runtime.method.labelled import Frames
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update
from reverie.export.exporter import export_bundle
from reverie.export.pretraining.pipeline import pretrain_arrays
from reverie.export.pretraining.pretrained import load_networks, read_pretrained
from reverie.export.pretraining.training import PretrainConfig
from reverie.tools.bench.accuracy_command import GENERATORS as OFFERED
from reverie.tools.bench.accuracy_start import GENERATORS

FEW = FitConfig(batch=16, steps=3)


def test_the_command_offers_them_all():
    assert tuple(GENERATORS) == OFFERED


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_is_pretrained_exported_and_updated(tmp_path, name):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    inputs = (0.5 * rng.standard_normal((60, 1, 8, 8))).clip(-1, 1).astype(np.float32)
    how, config = Preprocessing(8, 8, "grey"), PretrainConfig(solver_epochs=1, gan_steps=3)
    pretrain_arrays(inputs, labels, ("a", "b"), how, tmp_path / "trained", config, lambda *_: None, GENERATORS[name])
    networks = load_networks(read_pretrained(tmp_path / "trained"), name, spare_classes=1)
    manifest = export_bundle(networks, tmp_path / "bundle", lambda _: None)
    assert manifest.conditional == (name != "unconditional")
    home = tmp_path / "home"
    models = store.load_models(home, installation.install(tmp_path / "bundle", home))
    plain = UpdateConfig(fine_tune=FEW)
    config = replace(
        plain,
        replay=replace(plain.replay, pool=32),
        synthesis=replace(plain.synthesis, count=16, steps=2),
        retrain=replace(plain.retrain, fit=FEW),
        generative=replace(plain.generative, steps=2, batch=16),
    )
    frames = Frames(inputs[:20], np.zeros(20, np.int64), ("c",))
    updated = run_update(models, frames, config, Monitor()).models
    assert updated.classes == ("a", "b", "c")
    assert any((updated.generator[n] != models.generator[n]).any() for n in models.generator)

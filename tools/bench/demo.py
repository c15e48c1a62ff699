"""`reverie bench demo-bundle`: the demo in `models/`, made from the Fashion-MNIST files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from reverie.device_runtime.bundle.preprocess import Preprocessing, input_to_image
from reverie.tools.bench.accuracy_start import SOLVER_EPOCHS
from reverie.tools.bench.protocols import Samples, product, read_idx
from reverie.tools.display import step_progress
from reverie.tools.options import GAN_STEPS

LABELS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
TEST_IMAGES = 200
"""Test images of each class."""
CANARY_IMAGES = 20
"""Of each class, in the bundle."""


def make_demo(data: Path, output: Path, seed: int, console: Console) -> None:
    """Write `output`/bundle, frames/LABEL/*.png, test/LABEL/*.png, and held-out/LABEL/*.png for a rehearsal.

    `output` must not exist.
    """
    from reverie.export.exporter import export_bundle
    from reverie.export.output import require_new
    from reverie.export.pretraining.pipeline import pretrain_arrays
    from reverie.export.pretraining.pretrained import load_networks
    from reverie.export.pretraining.training import PretrainConfig, split_validation

    require_new(output)
    steps = product(read_idx(data / "fashion", "train"), read_idx(data / "fashion", "t10k"), seed)
    how = Preprocessing(28, 28, "grey")
    output.mkdir(parents=True)
    work = output / "pretrained"
    config = PretrainConfig(seed=seed, solver_epochs=SOLVER_EPOCHS, gan_steps=GAN_STEPS)
    pretrained = pretrain_arrays(
        steps.history.inputs, steps.history.labels, LABELS[:6], how, work, config, step_progress(console)
    )
    _, validation = split_validation(steps.history.labels, config.validation_share, seed)
    held_out = steps.history.take(np.sort(validation))
    canary = np.concatenate([np.flatnonzero(held_out.labels == slot)[:CANARY_IMAGES] for slot in range(6)])
    _write_images(held_out.take(canary), work / "canary", how)
    _write_images(held_out.take(np.setdiff1d(np.arange(len(validation)), canary)), output / "held-out", how)
    networks = replace(load_networks(pretrained, "fashion-demo", spare_classes=4), canary=work / "canary")
    export_bundle(networks, output / "bundle", console.print)
    shutil.rmtree(work)
    _write_images(steps.updates[0], output / "frames", how)
    rng = np.random.default_rng(seed)
    for tested in steps.tests[:2]:
        for label in np.unique(tested.labels):
            rows = rng.choice(np.flatnonzero(tested.labels == label), TEST_IMAGES, replace=False)
            _write_images(tested.take(np.sort(rows)), output / "test", how)
    console.print(f"written to {output}")


def _write_images(samples: Samples, folder: Path, how: Preprocessing) -> None:
    for at, (x, label) in enumerate(zip(samples.inputs, samples.labels, strict=True)):
        path = folder / LABELS[label] / f"{at:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), input_to_image(x, how), [cv2.IMWRITE_PNG_COMPRESSION, 9])

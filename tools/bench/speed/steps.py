"""Single steps of an update beside torch, in one process and by turns; run in a process of its own by `speed.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch

from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import LOSSES, UpdateConfig
from reverie.device_runtime.errors import first_line
from reverie.device_runtime.home import store
from reverie.device_runtime.method.models import Models, one_hot
from reverie.export.exporter import export_bundle
from reverie.export.networks import Networks
from reverie.tools.bench.speed.feeds import normal, share, training_feeds
from reverie.tools.bench.speed.product import gflops, large_product, operations
from reverie.tools.bench.speed.sizes import built
from reverie.tools.bench.speed.torch_engine import TorchModels
from reverie.tools.bench.speed.turns import Step, by_turns

LABELLED = 256
"""Inputs that are generated or labelled at a time."""


class StepTimes(NamedTuple):
    """Median milliseconds of one step; `compiled` is torch.compile's, None where it was not asked for or fails.

    `operations` are the floating point ones of its convolutions and matrix products, and `product` the GFLOP/s of a
    large matrix product in between.
    """

    size: str
    step: str
    batch: int
    threads: int
    ours: float
    torch: float
    compiled: float | None
    operations: float
    product: float

    @property
    def gflops(self) -> float:
        """GFLOP/s of ours."""
        return self.operations / self.ours / 1e6


def measure_steps(size: str, threads: int, repeats: int, compiled: bool) -> list[StepTimes]:
    """Every step of `size` on the cores that this process may use, which must be `threads`."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        networks = built(size)
        ours = exported(networks, Path(scratch))
        engines = {"ours": ours, "torch": in_torch(ours, networks)}
        if compiled:
            engines["compiled"] = in_torch(ours, networks, compiled=True)
        product, rows = large_product(), []
        for name, (batch, make) in STEPS.items():
            steps = {engine: make(models, batch) for engine, models in engines.items()}
            count = operations(steps["torch"])
            if compiled and not _compiles(name, steps["compiled"]):
                del steps["compiled"]
            times = by_turns(steps | {"product": product}, repeats)
            figures = (times["ours"], times["torch"], times.get("compiled"), count, gflops(times["product"]))
            rows.append(StepTimes(size, name, batch, threads, *figures))
        return rows


def exported(networks: Networks, scratch: Path) -> Models:
    """The networks as a box has them."""
    export_bundle(networks, scratch / "bundle", lambda _: None)
    return store.load_models(scratch / "home", installation.install(scratch / "bundle", scratch / "home"))


def in_torch(models: Models, networks: Networks, compiled: bool = False) -> TorchModels:
    """The same models, run by torch."""
    fields = {name: getattr(models, name) for name in models.__dataclass_fields__}
    return TorchModels(**fields, networks=networks, compiled=compiled)


def _compiles(name: str, step: Step) -> bool:
    """Whether torch.compile can make `step`, which it does when that is first taken; if not, the reason is told."""
    try:
        step()
    except RuntimeError as error:
        click.echo(f"{name} is measured without torch.compile, which fails here: {first_line(error)}", err=True)
        return False
    return True


def _codes(models: Models, count: int) -> np.ndarray:
    return one_hot(np.arange(count) % len(models.classes), models.manifest.slots)


def _train(models: Models, batch: int) -> Step:
    step = models.train_step("solver")
    feeds = training_feeds(models.manifest.input_shape, _codes(models, batch), models.active)
    return lambda: step.step(feeds, 1e-3)


def _discriminate(models: Models, batch: int) -> Step:
    step = models.train_step("discriminator")
    feeds = {
        "input": normal(batch, *models.manifest.input_shape),
        "code": _codes(models, batch),
        "kind": (np.arange(batch) % 2).astype(np.float32),
        "weight": share(batch),
    }
    return lambda: step.step(feeds, 1e-3)


def _generate(models: Models, batch: int) -> Step:
    step = models.train_step("generator")
    feeds = {
        "noise": normal(batch, models.manifest.noise_size),
        "code": _codes(models, batch),
        "kind": np.ones(batch, np.float32),
        "weight": share(batch),
        "anchor": normal(batch, *models.manifest.input_shape),
        "anchor_weight": share(batch),
        "class_weight": share(batch),
        "active": models.active,
    }
    weights = models.discriminator | models.solver
    return lambda: step.step(feeds | weights, 1e-3)


def _synthesise(search: str) -> Callable[[Models, int], Step]:
    def make(models: Models, batch: int) -> Step:
        config = UpdateConfig().synthesis
        graph = models.synthesis_graph(models.solver, search)
        code = _codes(models, batch)
        feeds = {
            "input": normal(batch, *models.manifest.input_shape),
            "start": normal(batch, *models.manifest.input_shape),
            "noise": normal(batch, models.manifest.noise_size),
            "reference": code,
            "code": code,
            "known": models.active,
            "active": models.active,
            "choose": one_hot(np.asarray(LOSSES.index(config.loss)), len(LOSSES)),
            "alpha": np.asarray(config.alpha, np.float32),
            "tv": np.asarray(0.1, np.float32),
            "pull": np.asarray(0.1, np.float32),
            "prior": np.asarray(config.noise_prior, np.float32),
        }
        return lambda: graph.run(feeds)

    return make


def _label(models: Models, batch: int) -> Step:
    graph, inputs = models.solver_graph, normal(batch, *models.manifest.input_shape)
    return lambda: graph.run({"input": inputs})


def _sample(models: Models, batch: int) -> Step:
    graph = models.generator_graph
    feeds = {"noise": normal(batch, models.manifest.noise_size), "code": _codes(models, batch)}
    return lambda: graph.run(feeds)


_CONFIG = UpdateConfig()
STEPS: dict[str, tuple[int, Callable[[Models, int], Step]]] = {
    "training": (_CONFIG.fine_tune.batch, _train),
    "synthesis of noise": (_CONFIG.synthesis.batch, _synthesise("noise")),
    "synthesis of images": (_CONFIG.synthesis.batch, _synthesise("image")),
    "discriminator": (2 * _CONFIG.generative.batch, _discriminate),
    "generator": (_CONFIG.generative.batch, _generate),
    "pseudo-labels": (LABELLED, _label),
    "sampling": (LABELLED, _sample),
}
"""Step → its batch by default, and what makes it for the models of an engine."""

"""Single steps of an update beside torch, in one process and by turns; run in a process of its own by `speed.py`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from reverie.device_runtime import installation, store
from reverie.device_runtime.config import LOSSES, UpdateConfig
from reverie.device_runtime.models import Models, one_hot
from reverie.export.exporter import Networks, export_bundle
from reverie.tools.speed_sizes import built
from reverie.tools.torch_engine import TorchModels

Step = Callable[[], object]
LABELLED = 256
"""Inputs that are generated or labelled at a time."""


class StepTimes(NamedTuple):
    """Median milliseconds of one step; `compiled` is torch.compile's, None where it was not asked for or fails."""

    size: str
    step: str
    batch: int
    threads: int
    ours: float
    torch: float
    compiled: float | None


def measure_steps(size: str, threads: int, repeats: int, compiled: bool) -> list[StepTimes]:
    """Every step of `size` on the cores that this process may use, which must be `threads`."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        networks = built(size)
        ours = exported(networks, Path(scratch))
        engines = {"ours": ours, "torch": in_torch(ours, networks)}
        if compiled:
            engines["compiled"] = in_torch(ours, networks, compiled=True)
        rows = []
        for name, (batch, make) in STEPS.items():
            times = by_turns({engine: make(models, batch) for engine, models in engines.items()}, repeats)
            figures = (times["ours"], times["torch"], times.get("compiled"))
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


def by_turns(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """Median milliseconds of each, measured in turn so that all meet the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 3):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if turn >= 3:  # the first ones allocate, and compile
                seconds[name].append(time.perf_counter() - started)
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _share(count: int) -> np.ndarray:
    return np.full(count, 1 / count, np.float32)


def _codes(models: Models, count: int) -> np.ndarray:
    return one_hot(np.arange(count) % len(models.classes), models.manifest.slots)


def _train(models: Models, batch: int) -> Step:
    step = models.train_step("solver")
    feeds = {
        "input": _normal(batch, *models.manifest.input_shape),
        "target": _codes(models, batch),
        "temperature": np.ones(batch, np.float32),
        "weight": _share(batch),
        "active": models.active,
    }
    return lambda: step.step(feeds, 1e-3)


def _discriminate(models: Models, batch: int) -> Step:
    step = models.train_step("discriminator")
    feeds = {
        "input": _normal(batch, *models.manifest.input_shape),
        "code": _codes(models, batch),
        "kind": (np.arange(batch) % 2).astype(np.float32),
        "weight": _share(batch),
    }
    return lambda: step.step(feeds, 1e-3)


def _generate(models: Models, batch: int) -> Step:
    step = models.train_step("generator")
    feeds = {
        "noise": _normal(batch, models.manifest.noise_size),
        "code": _codes(models, batch),
        "kind": np.ones(batch, np.float32),
        "weight": _share(batch),
        "anchor": _normal(batch, *models.manifest.input_shape),
        "anchor_weight": _share(batch),
        "class_weight": _share(batch),
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
            "input": _normal(batch, *models.manifest.input_shape),
            "start": _normal(batch, *models.manifest.input_shape),
            "noise": _normal(batch, models.manifest.noise_size),
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
    graph, inputs = models.solver_graph, _normal(batch, *models.manifest.input_shape)
    return lambda: graph.run({"input": inputs})


def _sample(models: Models, batch: int) -> Step:
    graph = models.generator_graph
    feeds = {"noise": _normal(batch, models.manifest.noise_size), "code": _codes(models, batch)}
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

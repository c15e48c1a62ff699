"""A whole update with the device's engine and with torch, each in a process of its own: seconds and memory by stage.

Both run the device's own stages on the same frames; only what runs the steps and graphs differs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.engine.runtime import THREADS
from reverie.device_runtime.errors import EngineError
from reverie.device_runtime.home import store
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update
from reverie.tools.bench.accuracy_start import apart
from reverie.tools.bench.frames import read_frames


class StageCost(NamedTuple):
    """Seconds and peak resident bytes of one stage, of the whole process."""

    seconds: float
    peak_bytes: int


Costs = dict[str, StageCost]
"""Stage → its cost."""


def measure_updates(bundle: Path, frames: Path, seed: int) -> dict[str, Costs]:
    """Costs by engine of an update of `bundle`, which is of the reference networks on 28x28 grey images."""
    return {"Reverie": apart(_update, bundle, frames, seed), "torch": apart(_update_in_torch, bundle, frames, seed)}


def _update(bundle: Path, frames: Path, seed: int) -> Costs:
    with _installed(bundle) as models:
        return _run(models, frames, seed)


def _update_in_torch(bundle: Path, frames: Path, seed: int) -> Costs:
    import torch

    from reverie.export.graphs import graphs
    from reverie.export.pretraining.networks import SpectralNorm
    from reverie.tools.bench.speed.sizes import reference
    from reverie.tools.bench.speed.steps import in_torch
    from reverie.tools.bench.speed.torch_engine import parameters_set

    torch.set_num_threads(THREADS)
    with _installed(bundle) as models:
        networks = reference(slots=models.manifest.slots)
        names = {f"solver.{name}" for name, _ in networks.solver.named_parameters()}
        if models.manifest.input_shape != networks.input_shape or names != models.solver.keys():
            raise EngineError(f"{bundle} is not of the reference networks on 28x28 grey images: take the demo's")
        _, discriminator = networks.pair
        parameters_set(graphs.ServingDiscriminator(discriminator), models.discriminator)
        for layer in discriminator.modules():
            if isinstance(layer, SpectralNorm):  # whose vectors are not among a bundle's weights
                layer.u = torch.linalg.svd(layer.layer.weight.detach().flatten(1))[0][:, :1].T.contiguous()
        return _run(in_torch(models, networks), frames, seed)


@contextmanager
def _installed(bundle: Path) -> Iterator[Models]:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        yield store.load_models(home, installation.install(bundle, home))


def _run(models: Models, frames: Path, seed: int) -> Costs:
    read = read_frames(frames, InputMaker(models.folder, models.manifest), UpdateConfig().min_images)
    monitor = Monitor()
    run_update(models, read, UpdateConfig(seed=seed), monitor)
    return {name: StageCost(record.seconds, record.peak_bytes) for name, record in monitor.records.items()}

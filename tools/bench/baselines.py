"""What a practitioner would take instead of the method; each trains the solver alone, at most as long as the default.

    none    the live images alone
    joint   all images of all earlier tasks beside the live ones that the default trains on: the upper bound
    er      100 stored images a class (Rolnick et al., "Experience replay for continual learning", NeurIPS 2019)

"lwf" and "ewc", which need losses of their own, are in `regularised.py`.
Earlier tasks count with the number of their classes, as replay does in the default form. Training ends as there, when
the loss has converged.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.config import FitConfig, UpdateConfig
from reverie.device_runtime.method.fit import Live, Source, fit, live_source
from reverie.device_runtime.method.labelled import extend_classes, split
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.randomness import rng_for
from reverie.tools.bench.protocols import Protocol, Samples, as_frames

BASELINES = ("none", "joint", "er")
STORED = 100
"""Images of a class that experience replay keeps."""


class Task(NamedTuple):
    """Update `number` of a protocol: the models before it with the new classes in use, and its live images."""

    before: Models
    models: Models
    live: Live
    steps: Protocol
    number: int
    schedule: FitConfig
    seed: int

    @property
    def earlier(self) -> list[Samples]:
        """The images of all tasks before."""
        return [self.steps.history, *self.steps.updates[: self.number - 1]]


def task(models: Models, steps: Protocol, number: int, config: UpdateConfig) -> Task:
    """Update `number`, with the frames that the default form would train on."""
    frames = as_frames(steps.updates[number - 1], steps.names)
    classes = extend_classes(models.classes, frames.classes, models.manifest.slots)
    live, _ = split(frames, classes, config.holdout, config.seed)
    schedule = dataclasses.replace(config.fine_tune, steps=config.fine_tune.steps + config.retrain.fit.steps)
    return Task(models, models.with_classes(classes), live, steps, number, schedule, config.seed)


def train(form: str, now: Task, monitor: Monitor) -> Models:
    """The models after the update, as baseline `form` trains them."""
    sources = [live_source(now.models, now.live, "live", now.seed, float(len(np.unique(now.live.labels))))]
    if form == "joint":
        sources += [_images(now, past, f"task {at}") for at, past in enumerate(now.earlier)]
    if form == "er":
        sources += [_images(now, _stored(past, now.seed, at), f"task {at}") for at, past in enumerate(now.earlier)]
    with monitor.stage("fine-tune"):
        return now.models.with_solver(fit(now.models, sources, now.models.active, now.schedule, now.seed, monitor))


def _images(now: Task, samples: Samples, name: str) -> Source:
    live = Live(samples.inputs, samples.labels)
    return live_source(now.models, live, name, now.seed, float(len(np.unique(samples.labels))))


def _stored(samples: Samples, seed: int, number: int) -> Samples:
    rng = rng_for(seed, "stored", number)
    rows = [np.flatnonzero(samples.labels == slot) for slot in np.unique(samples.labels)]
    return samples.take(np.concatenate([rng.permutation(members)[:STORED] for members in rows]))

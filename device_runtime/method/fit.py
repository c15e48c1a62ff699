"""Stages 2 and 5: train the solver on a stream of weighted batches.

Stage 2 ends when the loss has converged; the learning rate of stage 5 falls from its first step to its last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.manifest import BATCH, Weights
from reverie.device_runtime.config import FitConfig, RetrainConfig
from reverie.device_runtime.method.augmentation import moved
from reverie.device_runtime.method.convergence import Convergence
from reverie.device_runtime.method.models import Models, one_hot
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.randomness import balanced, rng_for
from reverie.device_runtime.method.replay import Examples, Replay
from reverie.device_runtime.method.rows import Chosen, Rows


class Live(NamedTuple):
    """Live inputs (N, *S) and the class slot of each (N,)."""

    inputs: Rows
    labels: np.ndarray

    def of(self, slot: int) -> Rows:
        """The inputs of one class, not read yet."""
        return Chosen(self.inputs, np.flatnonzero(self.labels == slot))

    def rows(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """`count` rows at random, as many of each live class, whatever their numbers."""
        classes = np.unique(self.labels)
        wanted = balanced(count, len(classes), rng)
        rows = np.empty(count, dtype=np.int64)
        for at, slot in enumerate(classes):
            members = np.flatnonzero(self.labels == slot)
            places = np.flatnonzero(wanted == at)
            rows[places] = rng.choice(members, size=len(places), replace=len(places) > len(members))
        return rows

    def draw(self, slots: int, rng: np.random.Generator, count: int) -> Examples:
        """`count` balanced examples."""
        rows = self.rows(rng, count)
        targets = one_hot(self.labels[rows], slots)
        return Examples(self.inputs[rows], targets, np.ones(count, dtype=np.float32))


class Source(NamedTuple):
    """Where part of each batch comes from: `draw(step, count)`, its share of the batch and of the loss."""

    draw: Callable[[int, int], Examples]
    share: float


def counts(shares: list[float], batch: int) -> list[int]:
    """Split `batch` in proportion to `shares`; every positive share gets at least one if `batch` has as many."""
    total = sum(shares)
    split = [max(1, round(batch * share / total)) if share > 0 else 0 for share in shares]
    while sum(split) != batch:
        split[int(np.argmax(split))] += 1 if sum(split) < batch else -1
    return split


def fit(
    models: Models, sources: list[Source], active: np.ndarray, config: FitConfig, seed: int, monitor: Monitor
) -> Weights:
    """Train `models.solver` on batches mixed from `sources`; returns the trained weights.

    Running statistics of a batch normalization in training mode follow those of the batches.

    Each source's mean loss counts with its share, so that with shares n_generated and n_live the sum is
    loss 1 · n_generated/(n_generated+n_live) + loss 2 · n_live/(n_generated+n_live). The learning rate is constant
    until the sum has converged, then falls linearly to zero; with `config.cooling` of 1 it falls from the start.
    Raises TrainingError where the loss is no number.
    """
    sources = [source for source in sources if source.share > 0]
    total = sum(source.share for source in sources)
    split = counts([source.share for source in sources], config.batch)
    weight = np.concatenate([np.full(n, s.share / total / n, np.float32) for s, n in zip(sources, split, strict=True)])
    step = models.train_step("solver")
    shift = shift_of(models, config)
    momenta = models.manifest.training.get("statistics", {})
    running = {name: models.solver[name].copy() for name in momenta}
    convergence = Convergence(config.window, config.tolerance)
    cooling = max(1, round(config.cooling * config.steps))
    cool_from = config.steps - cooling
    end = config.steps
    at = 0
    if saved := monitor.resume():
        step.restore(saved["solver"])
        convergence.recent = saved["recent"].tolist()
        running = {name: saved[f"running.{name}"] for name in running}
        at, cool_from, end = saved["at"].tolist()
    while at < end:
        parts = [source.draw(at, n) for source, n in zip(sources, split, strict=True)]
        examples = Examples(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        remaining = 1.0 if at < cool_from else (end - at) / cooling
        result = step.step(
            {
                "input": moved(examples.inputs, shift, rng_for(seed, f"{monitor.now}: moved", at)),
                "target": examples.targets,
                "temperature": examples.temperature,
                "weight": weight,
                "active": active,
            },
            config.learning_rate * remaining,
        )
        for name, momentum in momenta.items():
            running[name] += np.float32(momentum) * (result[BATCH + name] - running[name])
        loss = float(result["loss"])
        at += 1
        monitor.step(at, end, loss)
        if at < cool_from and convergence.reached(loss):
            cool_from, end = at, at + cooling
        if monitor.out_of_time():
            end = at
        if monitor.should_save(done=at == end):
            recent = np.array(convergence.recent, np.float64)
            state = {"solver": step.state(), "recent": recent, "at": np.array([at, cool_from, end])}
            monitor.save(state | {f"running.{name}": value for name, value in running.items()})
    return step.weights() | running


def shift_of(models: Models, config: FitConfig) -> float:
    """How far inputs are moved in training: `config.shift`, but 0 for features, which are no images."""
    return config.shift if models.manifest.backbone is None else 0.0


def fine_tune(
    models: Models, replay: Replay, live: Live, ratio: float, config: FitConfig, seed: int, monitor: Monitor
) -> Weights:
    """Stage 2: generated and live inputs, `ratio` generated ones for each live one → the trained solver.

    `models` are the pretrained ones with the classes of `live` already in use.
    """
    sources = [
        Source(lambda step, count: replay.draw("fine-tune", step, count), ratio),
        live_source(models, live, "fine-tune", seed, 1.0),
    ]
    return fit(models, sources, models.active, config, seed, monitor)


def retrain(
    models: Models,
    replay: Replay,
    live: Live,
    synthesised: Examples,
    ratio: float,
    config: RetrainConfig,
    seed: int,
    monitor: Monitor,
) -> Weights:
    """Stage 5: the synthesised inputs, mixed with generated and live ones as `config` says → the updated solver.

    `models` hold the trained solver.
    """

    def draw_synthesised(step: int, count: int) -> Examples:
        rng = rng_for(seed, "retrain: synthesised", step)
        return synthesised.take(rng.integers(len(synthesised.inputs), size=count))

    sources = [
        Source(lambda step, count: replay.draw("retrain", step, count), config.replay * ratio),
        live_source(models, live, "retrain", seed, config.live),
        Source(draw_synthesised, config.synthesised * (ratio if config.replay else 1.0)),
    ]
    return fit(models, sources, models.active, config.fit, seed, monitor)


def live_source(models: Models, live: Live, stage: str, seed: int, share: float) -> Source:
    """Live inputs as a Source, drawn as a pure function of (seed, stage, step)."""
    slots = models.manifest.slots
    return Source(lambda step, count: live.draw(slots, rng_for(seed, f"{stage}: live", step), count), share)

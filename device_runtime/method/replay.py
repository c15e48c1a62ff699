"""Stage 1, replay: noise → pretrained generator → inputs, labelled by the pretrained solver."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.device_runtime.config import ReplayConfig
from reverie.device_runtime.method.class_gaussians import draw, powers_of
from reverie.device_runtime.method.models import Models, one_hot, run_in_chunks, softened
from reverie.device_runtime.method.noise import draw_noise
from reverie.device_runtime.method.randomness import rng_for

CANDIDATES = 4
"""At most this many generated inputs are looked at for each one wanted, when some are rejected."""

POOL_BYTES = 32 << 20
"""A pool of large inputs holds fewer of them than `ReplayConfig.pool`, so that it stays below this."""


class Examples(NamedTuple):
    """Inputs (N, *S), soft targets (N, C) and the temperature (N,) at which the targets were softened."""

    inputs: np.ndarray
    targets: np.ndarray
    temperature: np.ndarray

    def take(self, rows: np.ndarray) -> Examples:
        """The examples in `rows`."""
        return Examples(self.inputs[rows], self.targets[rows], self.temperature[rows])


def generate(models: Models, noise: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Generated inputs (N, *S): what the generator makes, or the statistics or Gaussians draw."""
    if models.gaussians is not None:
        return powers_of(models.manifest).back(draw(models.gaussians, noise, labels))
    if models.statistics is not None:
        return models.gaussian.draw(noise, labels)
    code = one_hot(labels, models.manifest.slots)
    return run_in_chunks(models.generator_graph, "generated", noise=noise, code=code)


def label(models: Models, inputs: np.ndarray, config: ReplayConfig) -> Examples:
    """The solver's result on `inputs` as their label: softened (Hinton et al., 2015) or the largest alone."""
    return _labelled(inputs, run_in_chunks(models.solver_graph, "logits", input=inputs), config)


def _labelled(inputs: np.ndarray, logits: np.ndarray, config: ReplayConfig) -> Examples:
    temperature = config.temperature if config.soft_labels else 1.0
    targets = softened(logits, temperature) if config.soft_labels else one_hot(logits.argmax(axis=1), logits.shape[1])
    return Examples(inputs, targets, np.full(len(inputs), temperature, np.float32))


def pool_size(models: Models, most: int) -> int:
    """How many inputs to hold at a time, so that memory stays bounded."""
    input_bytes = 4 * int(np.prod(models.manifest.input_shape))
    return min(most, max(256, POOL_BYTES // input_bytes))


class Replay:
    """An endless source of labelled generated inputs, in pools of bounded size.

    A pool is a pure function of (seed, stage, its number); it is used for a fixed number of draws and then replaced.
    """

    def __init__(self, models: Models, config: ReplayConfig, seed: int) -> None:
        self._models = models
        self._config = config
        self._seed = seed
        self._size = pool_size(models, config.pool)
        self._pool: Examples | None = None
        self._held: tuple[str, int] | None = None

    def draw(self, stage: str, step: int, count: int) -> Examples:
        """`count` examples for one step of `stage`."""
        draws = max(1, self._size * self._config.reuse // max(count, 1))
        pool = self.pool(stage, step // draws)
        rng = rng_for(self._seed, f"{stage}: replay", step)
        return pool.take(rng.choice(len(pool.inputs), size=count, replace=count > len(pool.inputs)))

    def pool(self, stage: str, number: int) -> Examples:
        """Pool `number` of `stage`, made when it is first asked for."""
        if self._pool is None or (stage, number) != self._held:
            self._pool, self._held = None, (stage, number)  # the old pool is freed before the new one is made
            self._pool = self._make_pool(rng_for(self._seed, f"{stage}: pool", number))
        return self._pool

    def _make_pool(self, rng: np.random.Generator) -> Examples:
        models, config = self._models, self._config
        by_label = config.balance and (config.min_confidence > 0 or not models.manifest.conditional)
        if not by_label and config.min_confidence == 0:
            noise, labels = draw_noise(models, self._size, rng, config.balance, config.noise_spread)
            return label(models, generate(models, noise, labels), config)
        kept: list[Examples] = []
        wanted = np.full(len(models.classes), -(-self._size // len(models.classes)))
        for _ in range(CANDIDATES):
            noise, labels = draw_noise(models, self._size, rng, config.balance, config.noise_spread)
            inputs = generate(models, noise, labels)
            logits = run_in_chunks(models.solver_graph, "logits", input=inputs)
            examples = _labelled(inputs, logits, config)
            sure = softened(logits, 1.0).max(axis=1) >= config.min_confidence
            seen = logits.argmax(axis=1)
            for known in range(len(wanted)):
                rows = np.flatnonzero(sure & (seen == known))[: wanted[known] if by_label else None]
                wanted[known] -= len(rows)
                kept.append(examples.take(rows))
            if sum(len(part.inputs) for part in kept) >= self._size:
                break
        pool = Examples(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))
        return pool.take(rng.permutation(len(pool.inputs))[: self._size]) if len(pool.inputs) else examples

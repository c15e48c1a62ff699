"""Stage 6, generative update: the discriminator learns live from generated, the generator learns to pass as live.

Non-saturating loss (Goodfellow et al., 2014). Live classes are shown as they are; known classes are rehearsed by
the previous generator's samples, which count as live for the discriminator and anchor the generator's outputs.

A class that was known and is live again keeps what it was: its noise tells from then on which time it is from, see
`noise.py`. What the previous generator made of noise that told nothing moves to noise that tells of the pretraining.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.manifest import Weights
from reverie.device_runtime.config import GenerativeConfig
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.method.coordinates import principal_coordinates
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.models import Models, one_hot, run_in_chunks
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.noise import draw_labels, draw_noise, next_time, noise_of, parted, telling
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import generate
from reverie.device_runtime.method.rows import Rows


class Round(NamedTuple):
    """What one round needs: fresh noise and class of each input to generate, and what counts as live."""

    noise: np.ndarray
    labels: np.ndarray
    anchor: np.ndarray
    anchor_weight: np.ndarray
    class_weight: np.ndarray
    live_inputs: np.ndarray
    live_labels: np.ndarray


def update_generator(
    previous: Models, updated: Models, live: Live, config: GenerativeConfig, seed: int, monitor: Monitor
) -> tuple[Weights, Weights]:
    """Weights of the updated generator and discriminator. Raises TrainingError where a loss is no number.

    `previous` has the classes known before, `updated` the updated solver and the live classes too.
    """
    if not previous.manifest.conditional:  # then nothing tells apart the classes that share the coordinates
        config = replace(config, reconstruction=0.0)
    discriminator = previous.train_step("discriminator")
    generator = previous.train_step("generator")
    averaged = {name: value.copy() for name, value in previous.generator.items()}
    slots = previous.manifest.slots
    kept = _kept(config, previous.manifest.noise_size)
    coordinates = principal_coordinates(live.inputs, live.labels, kept, rng_for(seed, "coordinates"))
    generated: np.ndarray | None = None
    step, end = 0, config.steps
    if saved := monitor.resume():
        discriminator.restore(saved["discriminator"])
        generator.restore(saved["generator"])
        averaged = {name: saved[f"averaged.{name}"] for name in averaged}
        generated, generated_code = saved["generated"], saved["generated_code"]
        step, end = saved["at"].tolist()
    while step < end:
        now = draw_round(previous, live, coordinates, config, rng_for(seed, "generative update", step))
        code = one_hot(now.labels, slots)
        if generated is None:
            generated, generated_code = generate(previous, now.noise, now.labels), code
        verdicts = _discriminate(discriminator, generated, generated_code, now, slots, config)
        result = generator.step(
            {
                "noise": now.noise,
                "code": code,
                "kind": np.ones(len(code), np.float32),
                "weight": _share(len(code)),
                "anchor": now.anchor,
                "anchor_weight": now.anchor_weight,
                "class_weight": now.class_weight,
                "active": updated.active,
            }
            | discriminator.weights()
            | updated.solver,
            config.generator_learning_rate,
        )
        # The next round's discriminator sees what this round generated: one forward pass serves both.
        generated, generated_code = result["generated"], code
        _average(averaged, generator.weights(), config.average, step)
        step += 1
        monitor.step(step, end, float(result["loss"]) + verdicts)
        if monitor.out_of_time():
            end = step
        if monitor.should_save(done=step == end):
            monitor.save(
                {
                    "discriminator": discriminator.state(),
                    "generator": generator.state(),
                    "generated": generated,
                    "generated_code": generated_code,
                    "at": np.array([step, end]),
                }
                | {f"averaged.{name}": value for name, value in averaged.items()}
            )
    return averaged, discriminator.weights()


def draw_round(
    previous: Models,
    live: Live,
    coordinates: Rows,
    config: GenerativeConfig,
    rng: np.random.Generator,
) -> Round:
    """Half of a round is of live classes, half of known ones."""
    half = config.batch // 2
    rows = live.rows(rng, config.batch - half)
    labels = live.labels[rows]
    coming = live.labels if config.anchor > 0 else None
    known_labels = draw_labels(previous, half, rng)
    known_noise = noise_of(previous, known_labels, rng, config.noise_spread, coming)
    fresh = rng.standard_normal((len(rows), known_noise.shape[1]), dtype=np.float32)
    rehearsed = generate(previous, known_noise, known_labels)
    reconstructs = (np.arange(len(rows)) % 2 == 0) & (config.reconstruction > 0)
    kept = _kept(config, fresh.shape[1])
    noise = fresh.copy()
    noise[reconstructs, :kept] = coordinates[rows[reconstructs]][:, :kept]
    moved = known_noise
    if config.anchor > 0:
        noise = telling(noise, next_time(previous, labels))
        moved = parted(previous, known_noise, known_labels, np.isin(known_labels, live.labels))
    inputs = live.inputs[rows]
    anchor_weight = np.concatenate([config.reconstruction * reconstructs / len(rows), config.anchor * _share(half)])
    return Round(
        noise=np.concatenate([noise, moved]),
        labels=np.concatenate([labels, known_labels]),
        anchor=np.concatenate([inputs, rehearsed]),
        anchor_weight=anchor_weight.astype(np.float32),
        class_weight=np.float32(config.class_consistency) * np.concatenate([_share(len(rows)), _share(half)]),
        live_inputs=np.concatenate([inputs, rehearsed]) if config.replay_as_live else inputs,
        live_labels=np.concatenate([labels, known_labels]) if config.replay_as_live else labels,
    )


def _kept(config: GenerativeConfig, noise_size: int) -> int:
    """How many coordinates an input to reproduce keeps; the rest of its noise is fresh."""
    return min(config.components, noise_size // 2)


def coverage(models: Models, seed: int, samples: int = 1000) -> tuple[float, ...]:
    """Share of each class in use among `samples` generated inputs with evenly drawn codes, as the solver sees them."""
    noise, labels = draw_noise(models, samples, rng_for(seed, "coverage"), balance=True)
    seen = run_in_chunks(models.solver_graph, "logits", input=generate(models, noise, labels)).argmax(axis=1)
    return tuple((np.bincount(seen, minlength=len(models.classes)) / samples).tolist())


def _discriminate(
    discriminator: TrainStep,
    generated: np.ndarray,
    generated_code: np.ndarray,
    now: Round,
    slots: int,
    config: GenerativeConfig,
) -> float:
    """One discriminator step on as much weight of live as of generated inputs; returns the loss."""
    kind = np.concatenate([np.ones(len(now.live_inputs)), np.zeros(len(generated))]).astype(np.float32)
    result = discriminator.step(
        {
            "input": np.concatenate([now.live_inputs, generated]),
            "code": np.concatenate([one_hot(now.live_labels, slots), generated_code]),
            "kind": kind,
            "weight": np.concatenate([_share(len(now.live_inputs)), _share(len(generated))]),
        },
        config.discriminator_learning_rate,
    )
    return float(result["loss"])


def _share(count: int) -> np.ndarray:
    return np.full(count, 1 / count, np.float32)


def _average(averaged: Weights, now: Weights, decay: float, step: int) -> None:
    """Running average of the weights, in place; young averages forget faster."""
    keep = min(decay, step / (step + 10))
    for name in averaged:
        averaged[name] += np.float32(1 - keep) * (now[name] - averaged[name])

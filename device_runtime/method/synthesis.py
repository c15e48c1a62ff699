"""Stages 3 and 4, synthesis: with both solvers fixed, find inputs by gradients on the input itself.

The result of the pretrained solver (second result) and of the trained one (third result) meet with a reference
label in one of the losses of `config.LOSSES`, computed and differentiated by the exported graphs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.manifest import GRADIENT
from reverie.device_runtime.config import LOSSES, ReplayConfig, SynthesisConfig
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.method.models import Models, one_hot
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.noise import draw_labels, noise_of
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import Examples, generate, label


class Synthesised(NamedTuple):
    """Synthesised inputs as training examples, the reference label of each (N,) and the mean loss by step."""

    examples: Examples
    references: np.ndarray
    losses: list[float]


class Adam:
    """Kingma & Ba, "Adam: a method for stochastic optimization", 2015, on one array."""

    def __init__(self, learning_rate: float, shape: tuple[int, ...]) -> None:
        self._rate = learning_rate
        self._mean = np.zeros(shape, np.float32)
        self._square = np.zeros(shape, np.float32)
        self._step = 0

    def change(self, gradient: np.ndarray) -> np.ndarray:
        """What to add to the array, for its gradient."""
        self._step += 1
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.001 * (gradient * gradient - self._square)
        mean = self._mean / (1 - 0.9**self._step)
        square = self._square / (1 - 0.999**self._step)
        return np.asarray(-self._rate * mean / (np.sqrt(square) + 1e-8), dtype=np.float32)

    def keep(self, rows: np.ndarray) -> None:
        """Go on with `rows` of the array alone."""
        self._mean, self._square = self._mean[rows], self._square[rows]


def synthesise(
    pretrained: Models,
    trained: Models,
    live_labels: np.ndarray,
    config: SynthesisConfig,
    labelling: ReplayConfig,
    seed: int,
    monitor: Monitor,
) -> Synthesised:
    """`config.count` synthesised inputs, those with the pretrained solver's labels labelled as `labelling` says.

    `trained` differs from `pretrained` by its solver and its classes.
    """
    graph = pretrained.synthesis_graph(trained.solver, config.search)
    fixed = {
        "known": pretrained.active,
        "active": trained.active,
        "choose": one_hot(np.asarray(LOSSES.index(config.loss)), len(LOSSES)),
        "alpha": np.asarray(config.alpha, np.float32),
        "tv": np.asarray(config.total_variation, np.float32),
        "pull": np.asarray(config.pull, np.float32),
        "prior": np.asarray(config.noise_prior, np.float32),
    }
    parts: list[tuple[Examples, np.ndarray]] = []
    losses: list[float] = []
    batch, batches = 0, -(-config.count // config.batch)
    if saved := monitor.resume():
        parts = [(Examples(*(saved[name] for name in Examples._fields)), saved["references"])]
        losses = saved["losses"].tolist()
        batch, batches = saved["at"].tolist()
    while batch < batches:
        rng = rng_for(seed, "synthesis", batch)
        count = min(config.batch, config.count - batch * config.batch)
        references = draw_references(pretrained, trained, live_labels, config.references, rng, count)
        start = _start(pretrained, config, rng, references)
        code = one_hot(references, pretrained.manifest.slots)
        by_row = {"reference": code, "code": code, "start": start}
        found, batch_losses = _search(graph, config, start, fixed, by_row)
        losses += batch_losses
        if config.label == "pretrained":
            examples = label(pretrained, found, labelling)
        else:
            examples = Examples(found, one_hot(references, pretrained.manifest.slots), np.ones(count, np.float32))
        parts.append((examples, references))
        batch += 1
        monitor.step(batch, batches, batch_losses[-1])
        if monitor.out_of_time():
            batches = batch
        if monitor.should_save(done=batch == batches):
            all_examples, all_references = _joined(parts)
            places = {"at": np.array([batch, batches]), "losses": np.array(losses), "references": all_references}
            monitor.save(all_examples._asdict() | places)
    return Synthesised(*_joined(parts), losses)


def draw_references(
    pretrained: Models,
    trained: Models,
    live_labels: np.ndarray,
    pool: str,
    rng: np.random.Generator,
    count: int,
) -> np.ndarray:
    """Reference labels (N,) at random: one of the "live" frames' labels, a "known" class, or one of "all"."""
    if pool == "live":
        return np.asarray(rng.choice(live_labels, size=count))
    if pool == "known":
        return draw_labels(pretrained, count, rng, balance=False)
    return rng.integers(len(trained.classes), size=count)


def _joined(parts: list[tuple[Examples, np.ndarray]]) -> tuple[Examples, np.ndarray]:
    """The examples and reference labels of all batches so far."""
    examples = Examples(*(np.concatenate(part) for part in zip(*(p[0] for p in parts), strict=True)))
    return examples, np.concatenate([p[1] for p in parts])


def _start(models: Models, config: SynthesisConfig, rng: np.random.Generator, references: np.ndarray) -> np.ndarray:
    """Where the search begins: noise (N, Z), or inputs (N, *S) at random or from the generator."""
    noise = noise_of(models, references, rng)
    if config.search == "noise":
        return noise
    if config.start == "generated":
        return generate(models, noise, references)
    random = rng.standard_normal((len(references), *models.manifest.input_shape), dtype=np.float32)
    return np.asarray(random * models.manifest.spread)


def _search(
    graph: Graph,
    config: SynthesisConfig,
    start: np.ndarray,
    fixed: dict[str, np.ndarray],
    by_row: dict[str, np.ndarray],
) -> tuple[np.ndarray, list[float]]:
    """Adam on the input or the noise until its loss converges, each row for itself; returns inputs (N, *S) and the
    mean losses, of the start first and of the result last. `by_row` are the feeds that have rows.
    """
    source = "noise" if config.search == "noise" else "input"
    adam = Adam(config.learning_rate, start.shape)
    value, rows = start, np.arange(len(start))
    result = graph.run(fixed | by_row | {source: value})
    loss, found = result["each"].copy(), (result["generated"] if source == "noise" else start).copy()
    losses = [float(loss.mean())]
    small_steps = np.zeros(len(start), np.int64)
    gradient = result[source + GRADIENT]
    while len(losses) <= config.steps and len(rows):
        value = value + adam.change(gradient)
        result = graph.run(fixed | by_row | {source: value})
        settled = np.abs(loss[rows] - result["each"]) < config.tolerance * np.abs(loss[rows])
        small_steps = np.where(settled, small_steps + 1, 0)
        loss[rows], found[rows] = result["each"], result["generated"] if source == "noise" else value
        losses.append(float(loss.mean()))
        going = np.flatnonzero(small_steps < 3)
        gradient = result[source + GRADIENT][going]
        if len(going) < len(rows):  # what has converged costs nothing any more
            adam.keep(going)
            rows, value, small_steps = rows[going], value[going], small_steps[going]
            by_row = {name: part[going] for name, part in by_row.items()}
    return found, losses

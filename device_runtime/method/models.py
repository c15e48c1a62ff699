"""The networks of one generation: their weights, their class names, and sessions made from both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from reverie.device_runtime.bundle.contents import read_training, read_verified, read_weights, write_weights
from reverie.device_runtime.bundle.gaussians import ClassGaussians, read_gaussians, write_gaussians
from reverie.device_runtime.bundle.manifest import (
    BETAS,
    FORMAT,
    GAUSSIANS,
    MODELS,
    SAMPLING,
    STATISTICS,
    Manifest,
    Weights,
    as_injected,
)
from reverie.device_runtime.bundle.statistics import (
    LEAST_IMAGES,
    ClassStatistics,
    read_statistics,
    write_statistics,
)
from reverie.device_runtime.engine.graph import Graph, block_size
from reverie.device_runtime.engine.installed import TRAINING, installed_engine
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.device_runtime.errors import EngineError, FramesError
from reverie.device_runtime.method.class_gaussians import merged, powers_of
from reverie.device_runtime.method.closed_form import gathered, left_out_logits, solve
from reverie.device_runtime.method.gaussian import Gaussian, gaussian_of
from reverie.device_runtime.method.rows import CHUNK, Rows


@dataclass(frozen=True)
class Models:
    """Weights of solver, generator and discriminator, for the graphs in `folder`, a verified bundle.

    `classes` names the class slots in use, in the order of the slots. Where `statistics` or `gaussians` of the classes
    take the place of generator and discriminator, these have no weights.
    """

    folder: Path
    manifest: Manifest
    classes: tuple[str, ...]
    solver: Weights
    generator: Weights
    discriminator: Weights
    learnt: tuple[int, ...] = ()
    """How often the generator learnt each of the first classes, the pretraining included; the others, once."""
    statistics: ClassStatistics | None = None
    hidden: ClassStatistics | None = None
    """Of the classes at the input of the solver's last layer, where the bundle keeps them beside the generator."""
    gaussians: ClassGaussians | None = None
    """Of the classes at the input of a solver that is trained behind a backbone."""

    @property
    def times_learnt(self) -> np.ndarray:
        """How often the generator learnt the class of each slot (C,), the pretraining included; 0 if it is free."""
        used = [*self.learnt, *[1] * (len(self.classes) - len(self.learnt))]
        return np.array(used + [0] * (self.manifest.slots - len(used)))

    @property
    def active(self) -> np.ndarray:
        """Mask (C,) of the class slots in use, float32."""
        return class_mask(len(self.classes), self.manifest.slots)

    @cached_property
    def solver_graph(self) -> Graph:
        """Input → logits, probabilities."""
        return Graph(self.model_file("solver"), chunk=self.manifest.chunk("solver"))

    @cached_property
    def generator_graph(self) -> Graph:
        """noise, code → generated; for models without statistics."""
        return Graph(self.model_file("generator"), chunk=self.manifest.chunk(SAMPLING))

    @cached_property
    def gaussian(self) -> Gaussian:
        """What the statistics draw; for models that have them."""
        if self.statistics is None or self.manifest.statistics is None:
            raise ValueError("these models have a generator")
        return gaussian_of(self.statistics, self.manifest.statistics.epsilon)

    def synthesis_graph(self, trained: Weights, search: str) -> Graph:
        """The loss and its gradient for the "image" or "noise" that is searched, between this solver and `trained`.

        The weights of both solvers, and of the generator where its noise is searched, are constants of the session.
        """
        injected = as_injected(self.solver, trained, self.generator if search == "noise" else {})
        path = self.manifest.form(f"synthesis_{search}.onnx", block_size())
        chunk = self.manifest.chunk(f"synthesis_{search}")
        return Graph(read_verified(self.folder, path, self.manifest.files[path]), injected, chunk)

    def files(self) -> dict[str, bytes]:
        """Content of each file of a generation, as `models_of` reads it. Raises BundleError."""
        contents = {f"{model}.onnx": self.model_file(model) for model in self.manifest.models}
        kept = self.hidden if self.statistics is None else self.statistics
        contents |= {} if kept is None else {STATISTICS: write_statistics(kept)}
        return contents | ({} if self.gaussians is None else {GAUSSIANS: write_gaussians(self.gaussians)})

    def model_file(self, name: str) -> bytes:
        """The ONNX file of `name` ("solver", "generator" or "discriminator") with these weights in place."""
        weights: Weights = dict(getattr(self, name))
        if name == "solver":
            weights["active"] = self.active
        return write_weights(self.template(name), self.manifest.tensors[name], weights)

    def template(self, name: str) -> bytes:
        """The bundle's own ONNX file of `name`, verified. Raises BundleError."""
        return read_verified(self.folder, f"{name}.onnx", self.manifest.files[f"{name}.onnx"])

    def train_step(self, name: str) -> TrainStep:
        """Steps on the bundle's training graph of `name`, verified, from these weights. Raises BundleError."""
        model = read_training(self.folder, self.manifest, name, block_size())
        return TrainStep(model, getattr(self, name), f"{name}_train", BETAS[name], self.manifest.chunk(name))

    def with_solver(self, solver: Weights) -> Models:
        """A copy with the weights in `solver` replaced; those that do not train stay."""
        return replace(self, solver={**self.solver, **solver})

    def with_generative(self, generator: Weights, discriminator: Weights, learnt: tuple[int, ...]) -> Models:
        """A copy with the weights of generator and discriminator replaced, and how often these learnt each class."""
        return replace(self, generator=generator, discriminator=discriminator, learnt=learnt)

    def gathered(self, inputs: Rows, labels: np.ndarray) -> Models:
        """A copy whose statistics, or Gaussians, have those of `inputs` (N, *S) of the class slots `labels` (N,) too.

        Raises FramesError where a class would have so few images that its mean shows them.
        """
        learnt = self.learnt_once_more(labels, apart=False)
        if self.gaussians is not None:
            self.require_enough(self.gaussians.counts + np.bincount(labels, minlength=self.manifest.slots))
            came = merged(self.gaussians, inputs, labels, powers_of(self.manifest).of)
            return replace(self, gaussians=came, learnt=learnt)
        if self.statistics is None:
            raise ValueError("these models have a generator")
        found = gathered(self.statistics, inputs, labels).rounded()
        self.require_enough(found.counts)
        return replace(self, statistics=found, learnt=learnt)

    def require_enough(self, counts: np.ndarray) -> None:
        """Raise FramesError where one of `counts` (C,), the images of each class, lets its mean show them."""
        few = np.flatnonzero((counts > 0) & (counts < LEAST_IMAGES))
        if len(few):
            raise FramesError(
                f"{self.classes[few[0]]} has {counts[few[0]]} frames to learn, those held out left aside: "
                f"at least {LEAST_IMAGES} are needed, so that what is kept shows none of them"
            )

    def solved(self) -> Models:
        """A copy with the solver that the statistics give. Raises BundleError where there is none."""
        if self.statistics is None or self.manifest.statistics is None:
            raise ValueError("these models have a generator")
        return self.with_solver(solve(self.statistics, self.manifest.statistics, self.manifest))

    def left_out(self, inputs: Rows, labels: np.ndarray) -> np.ndarray:
        """Logits (N, C) that the solver of `solved` would give each of `inputs` (N, D), had it not been among them.

        All were `gathered`, of the class slots `labels` (N,). Raises BundleError.
        """
        how = self.manifest.statistics
        if self.statistics is None or how is None:
            raise ValueError("these models have a generator")
        return left_out_logits(self.statistics, how.epsilon, inputs, labels) / how.temperature

    def with_hidden(self, hidden: ClassStatistics) -> Models:
        """A copy with other statistics at the input of the solver's last layer."""
        return replace(self, hidden=hidden)

    def with_classes(self, classes: tuple[str, ...]) -> Models:
        """A copy in which the class slots of `classes` are in use; the generator has not learnt those that are new."""
        return replace(self, classes=classes, learnt=tuple(self.times_learnt[: len(classes)].tolist()))

    def learnt_once_more(self, slots: np.ndarray, apart: bool) -> tuple[int, ...]:
        """`learnt` once the generator has learnt the classes in `slots`, with their times kept `apart` or not."""
        came = np.isin(np.arange(self.manifest.slots), slots)
        times = self.times_learnt + came if apart else np.maximum(self.times_learnt, came)
        return tuple(times[: len(self.classes)].tolist())


def require_trainable(manifest: Manifest) -> None:
    """Raise EngineError where the training graphs of a bundle are of a format that another engine alone runs."""
    here = installed_engine()
    if manifest.format < FORMAT and here.name != TRAINING:
        raise EngineError(
            f"the bundle {manifest.name} is of format {manifest.format}, which learns in {TRAINING} alone, and {here} "
            "is installed: ask for a newer bundle and install it; until then it predicts as before"
        )


def class_mask(classes: int, slots: int) -> np.ndarray:
    """1 for the first `classes` of `slots`, 0 for the rest, float32."""
    return (np.arange(slots) < classes).astype(np.float32)


def one_hot(labels: np.ndarray, slots: int) -> np.ndarray:
    """Class slots (N,) → rows (N, slots), float32."""
    return np.asarray(np.eye(slots, dtype=np.float32)[labels])


def models_of(
    folder: Path,
    manifest: Manifest,
    classes: tuple[str, ...],
    files: Mapping[str, bytes],
    learnt: tuple[int, ...] = (),
) -> Models:
    """The networks, statistics or Gaussians in the `files` that `manifest.changing` names. Raises BundleError."""
    weights = dict.fromkeys(MODELS, Weights()) | {
        model: read_weights(files[f"{model}.onnx"], manifest.tensors[model]) for model in manifest.models
    }
    weights["solver"].pop("active")
    kept = None
    if manifest.kept_features:
        kept = read_statistics(files[STATISTICS], manifest.slots, manifest.kept_features, STATISTICS)
    statistics, hidden = (None, kept) if manifest.statistics is None else (kept, None)
    gaussians = None
    if manifest.gaussians is not None:
        rank = manifest.gaussians.rank
        gaussians = read_gaussians(files[GAUSSIANS], manifest.slots, manifest.features, rank, GAUSSIANS)
    return Models(
        folder, manifest, classes, **weights, learnt=learnt, statistics=statistics, hidden=hidden, gaussians=gaussians
    )


def softened(logits: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature) along the last axis, float32."""
    scaled = logits / np.float32(temperature)
    exponents = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True), dtype=np.float32)


def run_in_chunks(graph: Graph, output: str, chunk: int = CHUNK, **feeds: Rows) -> np.ndarray:
    """`output` of `graph` over all rows of `feeds`, `chunk` rows at a time, so that memory stays bounded."""
    rows = len(next(iter(feeds.values())))
    result = np.empty(0, np.float32)
    for at in range(0, rows, chunk):
        part = graph.run({name: value[at : at + chunk] for name, value in feeds.items()})[output]
        if at == 0:
            result = np.empty((rows, *part.shape[1:]), part.dtype)
        result[at : at + chunk] = part
    return result

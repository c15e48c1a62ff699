"""Networks that take optimizer steps on a training graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from reverie.device_runtime.bundle.manifest import BETAS, GRADIENT, TRAINING_GRAPH, Weights
from reverie.device_runtime.bundle.onnx_check import check_model
from reverie.device_runtime.engine.adamw import AdamW
from reverie.device_runtime.engine.chunks import inputs_by_row, joined, on_all_cores, split_rows
from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.engine.runtime import THREADS, open_session, run, session_options
from reverie.device_runtime.errors import EngineError, TrainingError

BUFFER, ACCUMULATED, RESET = "_grad.accumulation.buffer", "_grad.accumulation.out", "lazy_reset_grad"
"""Names in the training graphs of older bundles: of what a gradient is written to, that it was, and not added."""


class TrainStep:
    """Optimizer steps (AdamW, moments starting at zero) on the training graph of one network.

    A batch is computed in chunks of `chunk` rows, each on one core, and their gradients are added up in the order of
    the chunks: so steps do not depend on how many cores there are, and memory depends on the chunk, not on the batch.
    """

    def __init__(
        self,
        model: bytes,
        weights: Mapping[str, np.ndarray],
        name: str = "a network",
        betas: tuple[float, float] = BETAS["solver"],
        chunk: int | None = None,
    ) -> None:
        """`model` is a training graph, `weights` the starting values of all trained parameters.

        Without `chunk`, a batch stays whole, as networks need it whose rows depend on one another. Raises
        BundleError, EngineError.
        """
        self._name = name
        check_model(model, f"{TRAINING_GRAPH} of {name}", operators=installed_engine().operators)
        self._session = open_session(model, session_options(1 if chunk else THREADS))
        inputs = {i.name: i for i in self._session.get_inputs()}
        outputs = [o.name for o in self._session.get_outputs()]
        self._written = RESET in inputs
        """Whether the graph writes gradients to what it is fed, as in older bundles."""
        self._trained = tuple(n for n in inputs if n + GRADIENT in outputs)
        if self._written:
            self._trained = tuple(n.removesuffix(BUFFER) for n in inputs if n.endswith(BUFFER))
        self._outputs = tuple(n for n in outputs if not n.endswith((GRADIENT, ACCUMULATED)))
        self._rows = inputs_by_row(self._session)
        self._fed = tuple(n for n in inputs if n not in {*self._trained, RESET} and not n.endswith(BUFFER))
        missing = [n for n in self._trained if n not in weights]
        if missing:
            raise EngineError(f"{name} has no starting value for {missing[0]}: install the bundle again")
        shapes = {n: inputs[n].shape for n in self._trained}
        self._chunk = chunk
        self._places = _places(shapes)
        self._values = np.concatenate(
            [np.zeros(0, np.float32), *(np.ravel(weights[n]) for n in self._trained)], dtype=np.float32
        )
        self._views = _views(self._values, self._places)
        self._gradients: list[np.ndarray] = []
        """What each chunk of a batch writes its gradient to."""
        self._optimizer = AdamW(len(self._values), betas)

    def step(self, feeds: Mapping[str, np.ndarray], learning_rate: float) -> dict[str, np.ndarray]:
        """One forward, backward and optimizer step; returns the graph's outputs, "loss" among them.

        Raises TrainingError if the loss or a gradient is no number, EngineError; the weights are then as before.
        """
        outputs, gradient = self._compute(feeds)
        self._optimizer.step(self._values, gradient, learning_rate)
        return outputs

    def gradients(self, feeds: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Weights]:
        """Forward and backward only: the graph's outputs, and the gradient of each trained parameter."""
        outputs, gradient = self._compute(feeds)
        return outputs, {n: view.copy() for n, view in _views(gradient, self._places).items()}

    def _compute(self, feeds: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The outputs, and the gradient of all trained parameters, which the next call overwrites."""
        given = {name: np.asarray(feeds[name], order="C") for name in self._fed}
        parts = split_rows(given, self._rows, self._chunk)
        while len(self._gradients) < len(parts):
            self._gradients.append(np.empty_like(self._values))
        outputs = joined(on_all_cores(self._run_rows, parts, self._gradients))
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of {self._name} is {loss}: the update stops and the solver in service stays; "
                "check the frames or lower the learning rate"
            )
        total = self._gradients[0]
        for gradient in self._gradients[1 : len(parts)]:
            total += gradient
        with np.errstate(all="ignore"):
            square = float(np.dot(total, total))
        if not math.isfinite(square):
            raise TrainingError(
                f"the gradients of {self._name} are no finite numbers: the update stops and the solver in service "
                "stays; check the frames or lower the learning rate"
            )
        return outputs, total

    def _run_rows(self, feeds: Mapping[str, np.ndarray], gradient: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs for `feeds`; the gradient is written into `gradient`."""
        views, fed = _views(gradient, self._places), {**feeds, **self._views}
        if self._written:
            fed |= {name + BUFFER: view for name, view in views.items()} | {RESET: np.ones(1, np.bool_)}
        end = ACCUMULATED if self._written else GRADIENT
        results = run(self._session, [*self._outputs, *(name + end for name in self._trained)], fed)
        if not self._written:
            for view, result in zip(views.values(), results[len(self._outputs) :], strict=True):
                view[...] = result
        return dict(zip(self._outputs, results, strict=False))

    def weights(self) -> Weights:
        """Copies of all trained parameters."""
        return {n: view.copy() for n, view in self._views.items()}

    def state(self) -> np.ndarray:
        """Parameters and optimizer state (bytes,) uint8; `restore` continues from it bit for bit."""
        return np.concatenate([self._values.view(np.uint8), self._optimizer.state()])

    def restore(self, state: np.ndarray) -> None:
        """Go on from what `state` returned. Raises EngineError."""
        size = self._values.nbytes
        try:
            self._optimizer.restore(state[size:])
        except ValueError as error:
            raise EngineError(
                f"what was saved of {self._name} cannot be used ({error}): start again with --restart"
            ) from None
        self._values[:] = state[:size].view(np.float32)


def _places(shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[slice, Sequence[int]]]:
    """Where each parameter lies in the vector of all, and its shape."""
    places, at = {}, 0
    for name, shape in shapes.items():
        places[name] = (slice(at, at + math.prod(shape)), shape)
        at += math.prod(shape)
    return places


def _views(values: np.ndarray, places: Mapping[str, tuple[slice, Sequence[int]]]) -> Weights:
    return {name: values[place].reshape(shape) for name, (place, shape) in places.items()}

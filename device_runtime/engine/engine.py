"""The only file that knows onnxruntime. A second engine must fit behind `Graph` and `TrainStep`.

`Graph` runs an inference or input-gradient graph; `TrainStep` takes optimizer steps on a training graph. Both load what
was checked, from memory and not by a path that may lead to something else by then.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import math
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from reverie.device_runtime.bundle.bundle import BETAS, TRAINING_PARTS, Weights
from reverie.device_runtime.bundle.onnx_check import check_model
from reverie.device_runtime.engine.adamw import AdamW
from reverie.device_runtime.errors import EngineError, TrainingError, first_line

BUFFER, ACCUMULATED, RESET = "_grad.accumulation.buffer", "_grad.accumulation.out", "lazy_reset_grad"
"""Names in training graphs: of a parameter's gradient, that it was written, and whether it is written or added to."""

THREADS = max(1, len(os.sched_getaffinity(0)))
"""Threads of one session: all the cores that this process may use."""


_M_ARENA_MAX = -8
"""Of malloc.h."""


def _load_onnxruntime() -> Any:
    """Import onnxruntime without torch.

    `onnxruntime` imports `onnxruntime.training`, and that torch, for wrappers that nothing here uses. Empty modules in
    their place let it load alone.
    """
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(
            "onnxruntime-training is not installed: pip install --no-deps onnxruntime-training-cpu==1.19.2"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "training"
    if not folder.is_dir():
        raise EngineError(
            "onnxruntime is installed without training: "
            "pip uninstall onnxruntime, then pip install --force-reinstall onnxruntime-training-cpu==1.19.2"
        )
    if "onnxruntime.training" not in sys.modules:
        package = ModuleType("onnxruntime.training")
        package.__path__ = [str(folder)]
        sys.modules["onnxruntime.training"] = package
        # onnxruntime looks for ORTModule on import, and that would load torch where it is installed.
        sys.modules["onnxruntime.training.ortmodule"] = ModuleType("onnxruntime.training.ortmodule")
    runtime = importlib.import_module("onnxruntime")
    runtime.set_default_logger_severity(3)
    # One heap for all threads and one arena for all sessions: what one leaves free, the next takes.
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    memory = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    runtime.create_and_register_allocator(memory, None)
    return runtime


ort = _load_onnxruntime()


def _session_options(threads: int = THREADS) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait sleep: on a small box, spinning takes time from serving and from the camera.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


def _open_session(model: bytes, options: Any) -> Any:
    """A session on checked bytes. Raises EngineError."""
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"the engine cannot load a graph ({first_line(error)}): export again") from error


@functools.cache
def block_size() -> int:
    """Channels in a block of the layout that the engine's fast kernels take on this processor; 1 where it has none."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return 1
    channels = np.arange(32, dtype=np.float32).reshape(1, 16, 1, 2)
    (reordered,) = Graph(_REORDER).run({"x": channels}).values()
    return int(np.flatnonzero(reordered == channels[0, 0, 0, 1])[0])  # after one block comes the next pixel


_REORDER = bytes.fromhex(
    "08093a680a290a0178120179220c52656f72646572496e7075743a13636f6d2e6d6963726f736f66742e6e636877631201675a1b0a017812"
    "160a14080112100a0208010a0208100a0208010a020802621b0a017912160a14080112100a0208010a0208100a0208010a02080242040a00"
    "101242170a13636f6d2e6d6963726f736f66742e6e636877631001"
)
"""A model of one node, com.microsoft.nchwc.ReorderInput, that takes x (1, 16, 1, 2) to y."""


class Graph:
    """An inference session on a model held in memory, optionally with weights injected as constants."""

    def __init__(
        self, model: bytes, injected: Mapping[str, np.ndarray] | None = None, chunk: int | None = None
    ) -> None:
        """`injected` gives the tensors that `model` declares as external data.

        With `chunk`, a batch of more rows is computed in chunks of so many, each on one core; numbers that the graph
        gives for a whole batch are added up. Raises BundleError, EngineError.
        """
        check_model(model, injected=injected or ())
        options = _session_options(1 if chunk else THREADS)
        if injected:
            values = [ort.OrtValue.ortvalue_from_numpy(np.asarray(value, order="C")) for value in injected.values()]
            self._injected = values  # the session does not copy them
            options.add_external_initializers(list(injected), values)
        self._session = _open_session(model, options)
        self._rows = _inputs_by_row(self._session)
        self._chunk = chunk
        self.inputs = tuple(i.name for i in self._session.get_inputs())
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name; entries of `feeds` that the graph has no input for are left out. Raises EngineError."""
        used = {name: feeds[name] for name in self.inputs}
        return _joined(_on_all_cores(self._run_rows, _split(used, self._rows, self._chunk)))

    def _run_rows(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, _run(self._session, None, feeds), strict=True))


def _run(session: Any, names: Sequence[str] | None, feeds: Mapping[str, np.ndarray]) -> Any:
    """The outputs `names`, or all. Raises EngineError."""
    try:
        return session.run(names, feeds)
    except Exception as error:  # whatever the engine raises
        raise EngineError(
            f"the engine cannot run a graph ({first_line(error)}): free memory, or export the bundle again"
        ) from error


def _inputs_by_row(session: Any) -> frozenset[str]:
    """Names of the inputs whose first axis is the batch."""
    return frozenset(i.name for i in session.get_inputs() if i.shape and not isinstance(i.shape[0], int))


def _split(feeds: Mapping[str, np.ndarray], rows: frozenset[str], chunk: int | None) -> list[Mapping[str, np.ndarray]]:
    """`feeds` for each `chunk` rows of the inputs named in `rows`; all at once without a `chunk`."""
    count = max((len(feeds[name]) for name in rows if name in feeds), default=1)
    if chunk is None or count <= chunk:
        return [feeds]
    return [
        {name: value[start : start + chunk] if name in rows else value for name, value in feeds.items()}
        for start in range(0, count, chunk)
    ]


def _on_all_cores(
    run: Callable[..., dict[str, np.ndarray]], parts: list[Mapping[str, np.ndarray]], *beside: list[np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """Results of `run` for each of `parts` and what lies `beside` it, in their order."""
    each = map if len(parts) == 1 else _workers().map
    return list(each(run, parts, *beside))


def _joined(results: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Outputs of a batch from those of its chunks: rows one after another, numbers added up."""
    if len(results) == 1:
        return results[0]

    def joined(values: list[np.ndarray]) -> np.ndarray:
        return np.asarray(np.concatenate(values) if values[0].ndim else np.sum(values, dtype=np.float32))

    return {name: joined([result[name] for result in results]) for name in results[0]}


class TrainStep:
    """Optimizer steps (AdamW, moments starting at zero) on the training graph of one network.

    A batch is computed in chunks of `chunk` rows, each on one core, and their gradients are added up in the order of
    the chunks: so steps do not depend on how many cores there are, and memory depends on the chunk, not on the batch.
    """

    def __init__(
        self,
        parts: Mapping[str, bytes],
        weights: Mapping[str, np.ndarray],
        name: str = "a network",
        betas: tuple[float, float] = BETAS["solver"],
        chunk: int | None = None,
    ) -> None:
        """`parts` are the files in `TRAINING_PARTS`, `weights` the starting values of all trained parameters.

        Without `chunk`, a batch stays whole, as networks need it whose rows depend on one another. Raises
        BundleError, EngineError.
        """
        self._name = name
        model = parts[TRAINING_PARTS[0]]
        check_model(model, f"{TRAINING_PARTS[0]} of {name}")
        self._session = _open_session(model, _session_options(1 if chunk else THREADS))
        inputs = {i.name: i for i in self._session.get_inputs()}
        self._trained = tuple(n.removesuffix(BUFFER) for n in inputs if n.endswith(BUFFER))
        self._outputs = tuple(o.name for o in self._session.get_outputs() if not o.name.endswith(ACCUMULATED))
        self._rows = _inputs_by_row(self._session)
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
        parts = _split(given, self._rows, self._chunk)
        while len(self._gradients) < len(parts):
            self._gradients.append(np.empty_like(self._values))
        outputs = _joined(_on_all_cores(self._run_rows, parts, self._gradients))
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
        """Outputs for `feeds`; the graph writes into `gradient`, which it is fed."""
        buffers = {name + BUFFER: view for name, view in _views(gradient, self._places).items()}
        fed = {**feeds, **self._views, **buffers, RESET: np.ones(1, np.bool_)}
        names = [*self._outputs, *(name + ACCUMULATED for name in self._trained)]
        return dict(zip(self._outputs, _run(self._session, names, fed), strict=False))

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


@functools.cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="engine")

"""The only file that knows onnxruntime. A second engine must fit behind `Graph` and `TrainStep`.

`Graph` runs an inference or input-gradient graph; `TrainStep` takes optimizer steps on a training graph. Both load what
was checked, from memory and not by a path that may lead to something else by then.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from reverie.device_runtime.bundle import CHECKPOINT, TRAINING_PARTS, Weights
from reverie.device_runtime.errors import EngineError, TrainingError, first_line
from reverie.device_runtime.onnx_check import check_model

THREADS = max(1, len(os.sched_getaffinity(0)))
"""Threads of one session: all the cores that this process may use."""


def _load_onnxruntime() -> tuple[Any, Any]:
    """Import onnxruntime and its training API without torch.

    `onnxruntime.training.__init__` imports torch for its optimizer wrappers, which nothing here uses. An empty module
    of that name in its place lets `onnxruntime.training.api` load alone.
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
    return runtime, importlib.import_module("onnxruntime.training.api")


ort, training_api = _load_onnxruntime()


def _session_options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait sleep: on a small box, spinning takes time from serving and from the camera.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


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

    def __init__(self, model: bytes, injected: Mapping[str, np.ndarray] | None = None) -> None:
        """`injected` gives the tensors that `model` declares as external data. Raises BundleError, EngineError."""
        check_model(model, injected=injected or ())
        options = _session_options()
        if injected:
            values = [ort.OrtValue.ortvalue_from_numpy(np.asarray(value, order="C")) for value in injected.values()]
            self._injected = values  # the session does not copy them
            options.add_external_initializers(list(injected), values)
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"the engine cannot load a graph ({first_line(error)}): export again") from error
        self.inputs = tuple(i.name for i in self._session.get_inputs())
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name; entries of `feeds` that the graph has no input for are left out."""
        used = {name: feeds[name] for name in self.inputs}
        return dict(zip(self.outputs, self._session.run(None, used), strict=True))


class TrainStep:
    """Optimizer steps (AdamW, moments starting at zero) on the training artifacts of one network."""

    def __init__(self, parts: Mapping[str, bytes], weights: Mapping[str, np.ndarray], name: str = "a network") -> None:
        """`parts` are the files in `TRAINING_PARTS`, `weights` the starting values of all trained parameters.

        Raises BundleError, EngineError.
        """
        self._name = name
        self._parts = {part: parts[part] for part in TRAINING_PARTS if part != CHECKPOINT}
        for part, model in self._parts.items():
            check_model(model, f"{part} of {name}")
        with _in_memory(parts[CHECKPOINT]) as checkpoint:
            self._open(checkpoint)
        for parameter, value in weights.items():
            if parameter in self._state.parameters:
                self._state.parameters[parameter] = np.asarray(value, order="C")

    def _open(self, checkpoint: Path) -> None:
        with ExitStack() as opened:
            training, evaluation, optimizer = (opened.enter_context(_in_memory(part)) for part in self._parts.values())
            try:
                self._state = training_api.CheckpointState.load_checkpoint(checkpoint)
                self._module = training_api.Module(
                    training, self._state, evaluation, session_options=_session_options()
                )
                self._optimizer = training_api.Optimizer(optimizer, self._module)
            except Exception as error:
                raise EngineError(
                    f"the engine cannot load {self._name} ({first_line(error)}): install the bundle again"
                ) from error
        self._inputs = self._module.input_names()
        self._outputs = self._module.output_names()

    def step(self, feeds: Mapping[str, np.ndarray], learning_rate: float) -> dict[str, np.ndarray]:
        """One forward, backward and optimizer step; returns the graph's outputs, "loss" among them.

        Raises TrainingError if the loss is no number; the weights are then as they were before.
        """
        outputs = self.gradients(feeds)
        self._optimizer.set_learning_rate(learning_rate)
        self._optimizer.step()
        self._module.lazy_reset_grad()
        return outputs

    def gradients(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Forward and backward only: accumulates into the gradients and returns the graph's outputs."""
        values = self._module(*(feeds[name] for name in self._inputs))
        outputs = dict(zip(self._outputs, values if isinstance(values, tuple) else (values,), strict=True))
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of {self._name} is {loss}: the update stops and the solver in service stays; "
                "check the frames or lower the learning rate"
            )
        return outputs

    def read_gradients(self) -> Weights:
        """Accumulated gradient of each trained parameter."""
        return {n: np.array(p.grad) for n, p in self._state.parameters if p.requires_grad}

    def reset_gradients(self) -> None:
        """Start the next accumulation from zero."""
        self._module.lazy_reset_grad()

    def weights(self) -> Weights:
        """Copies of all trained parameters."""
        return {n: np.array(p.data) for n, p in self._state.parameters if p.requires_grad}

    def state(self) -> np.ndarray:
        """Parameters and optimizer state (bytes,) uint8; `restore` continues from it bit for bit."""
        with _in_memory() as path:
            training_api.CheckpointState.save_checkpoint(self._state, path, include_optimizer_state=True)
            return np.fromfile(path, np.uint8)

    def restore(self, state: np.ndarray) -> None:
        """Go on from what `state` returned. Raises EngineError."""
        with _in_memory(state.data) as path:
            self._open(path)


@contextmanager
def _in_memory(content: bytes | memoryview = b"") -> Iterator[Path]:
    """A path to `content`: the engine takes training artifacts by path alone; this one leads to no disk."""
    with os.fdopen(os.memfd_create("reverie"), "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")

"""Graphs that run: inference, and gradients on the input itself."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from reverie.device_runtime.bundle.onnx_check import check_model
from reverie.device_runtime.engine.chunks import inputs_by_row, joined, on_all_cores, split_rows
from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.engine.runtime import THREADS, as_values, open_session, run, session_options
from reverie.device_runtime.errors import EngineError


class Graph:
    """An inference session on a model held in memory, optionally with weights injected as constants."""

    def __init__(
        self, model: bytes, injected: Mapping[str, np.ndarray] | None = None, chunk: int | None = None
    ) -> None:
        """`injected` gives the tensors that `model` declares as external data.

        With `chunk`, a batch of more rows is computed in chunks of so many, each on one core; numbers that the graph
        gives for a whole batch are added up. Raises BundleError, EngineError.
        """
        check_model(model, injected=injected or (), operators=installed_engine().operators)
        options = session_options(1 if chunk else THREADS)
        if injected:
            values = as_values(injected)
            self._injected = values  # the session does not copy them
            options.add_external_initializers(list(injected), values)
        self._session = open_session(model, options)
        self._rows = inputs_by_row(self._session)
        self._chunk = chunk
        self.inputs = tuple(i.name for i in self._session.get_inputs())
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name; entries of `feeds` that the graph has no input for are left out. Raises EngineError."""
        used = {name: feeds[name] for name in self.inputs}
        return joined(on_all_cores(self._run_rows, split_rows(used, self._rows, self._chunk)))

    def _run_rows(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, run(self._session, None, feeds), strict=True))


@functools.cache
def block_size() -> int:
    """Channels in a block of the layout that the engine's fast kernels take on this processor; 1 where it has none."""
    channels = np.arange(32, dtype=np.float32).reshape(1, 16, 1, 2)
    try:
        (reordered,) = Graph(_REORDER).run({"x": channels}).values()
    except EngineError:  # there are no such kernels in this build of the engine
        return 1
    return int(np.flatnonzero(reordered == channels[0, 0, 0, 1])[0])  # after one block comes the next pixel


_REORDER = bytes.fromhex(
    "08093a680a290a0178120179220c52656f72646572496e7075743a13636f6d2e6d6963726f736f66742e6e636877631201675a1b0a017812"
    "160a14080112100a0208010a0208100a0208010a020802621b0a017912160a14080112100a0208010a0208100a0208010a02080242040a00"
    "101242170a13636f6d2e6d6963726f736f66742e6e636877631001"
)
"""A model of one node, com.microsoft.nchwc.ReorderInput, that takes x (1, 16, 1, 2) to y."""

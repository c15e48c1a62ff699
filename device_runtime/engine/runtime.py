"""The only file that knows onnxruntime: it is loaded, opens sessions on checked bytes, and runs them.

Sessions are opened from memory and not by a path that may lead to something else by then.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from reverie.device_runtime.engine.installed import TRAINING, installed_engine
from reverie.device_runtime.errors import EngineError, first_line

THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Threads of one session: all the cores that this process may use; elsewhere than on Linux, all there are."""

_M_ARENA_MAX = -8
"""Of malloc.h."""


def _load_onnxruntime() -> Any:
    """Import onnxruntime, without what it would write or load besides."""
    # On Linux, too, it writes to the user's cache and starts a thread unless this is set.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    engine = installed_engine()
    if engine.name == TRAINING and "onnxruntime.training" not in sys.modules:
        # It imports `onnxruntime.training`, and that torch, for wrappers that nothing here uses. Empty modules in their
        # place let it load alone.
        package = ModuleType("onnxruntime.training")
        package.__path__ = [str(engine.folder / "training")]
        sys.modules["onnxruntime.training"] = package
        sys.modules["onnxruntime.training.ortmodule"] = ModuleType("onnxruntime.training.ortmodule")
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EngineError(
            f"{engine.name} {engine.version} cannot be loaded ({first_line(error)}): "
            f"pip install --force-reinstall {engine.name}"
        ) from error
    runtime.set_default_logger_severity(3)
    # One heap for all threads and one arena for all sessions: what one leaves free, the next takes.
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    memory = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    runtime.create_and_register_allocator(memory, None)
    return runtime


ort = _load_onnxruntime()


def session_options(threads: int = THREADS) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that wait sleep: on a small box, spinning takes time from serving and from the camera.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


def open_session(model: bytes, options: Any) -> Any:
    """A session on checked bytes. Raises EngineError."""
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"the engine cannot load a graph ({first_line(error)}): export again") from error


def as_values(arrays: Mapping[str, np.ndarray]) -> list[Any]:
    """The engine's own view of each array, for `open_session`; it must live as long as the session."""
    return [ort.OrtValue.ortvalue_from_numpy(np.asarray(value, order="C")) for value in arrays.values()]


def run(session: Any, names: Sequence[str] | None, feeds: Mapping[str, np.ndarray]) -> Any:
    """The outputs `names`, or all. Raises EngineError."""
    try:
        return session.run(names, feeds)
    except Exception as error:  # whatever the engine raises
        raise EngineError(
            f"the engine cannot run a graph ({first_line(error)}): free memory, or export the bundle again"
        ) from error

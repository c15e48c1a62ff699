"""A batch is computed in chunks of rows, each on one core, and their results are put together again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from reverie.device_runtime.engine.runtime import THREADS


def inputs_by_row(session: Any) -> frozenset[str]:
    """Names of the inputs whose first axis is the batch."""
    return frozenset(i.name for i in session.get_inputs() if i.shape and not isinstance(i.shape[0], int))


def split_rows(
    feeds: Mapping[str, np.ndarray], rows: frozenset[str], chunk: int | None
) -> list[Mapping[str, np.ndarray]]:
    """`feeds` for each `chunk` rows of the inputs named in `rows`; all at once without a `chunk`."""
    count = max((len(feeds[name]) for name in rows if name in feeds), default=1)
    if chunk is None or count <= chunk:
        return [feeds]
    return [
        {name: value[start : start + chunk] if name in rows else value for name, value in feeds.items()}
        for start in range(0, count, chunk)
    ]


def on_all_cores(
    run: Callable[..., dict[str, np.ndarray]], parts: list[Mapping[str, np.ndarray]], *beside: list[np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """Results of `run` for each of `parts` and what lies `beside` it, in their order."""
    each = map if len(parts) == 1 else _workers().map
    return list(each(run, parts, *beside))


def joined(results: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Outputs of a batch from those of its chunks: rows one after another, numbers added up."""
    if len(results) == 1:
        return results[0]

    def together(values: list[np.ndarray]) -> np.ndarray:
        return np.asarray(np.concatenate(values) if values[0].ndim else np.sum(values, dtype=np.float32))

    return {name: together([result[name] for result in results]) for name in results[0]}


@functools.cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="engine")

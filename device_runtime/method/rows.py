"""Rows of an array that may lie in a file: what computes on all inputs of an update asks for some of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

CHUNK = 256
"""Rows at a time, where all are gone through."""


class Rows(Protocol):
    """(N, *S) that are indexed along the first axis alone: a numpy array is one, and so is a `row_files.RowFile`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *S)."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, at: Any, /) -> Any:
        """The row of a number, or an array with those of a slice, of numbers or of a mask."""


class Chosen:
    """Those of `rows` that have the numbers `at` (N,), not read before they are asked for."""

    def __init__(self, rows: Rows, at: np.ndarray) -> None:
        self._rows = rows
        self._at = at

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *S)."""
        return (len(self._at), *self._rows.shape[1:])

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, at: Any) -> np.ndarray:
        return np.asarray(self._rows[self._at[at]])


def in_chunks(rows: Rows, size: int = CHUNK) -> Iterator[np.ndarray]:
    """All `rows` in their order, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]

"""Where a known input lies in the generator's noise: its principal coordinates within its class.

A generator that reproduces inputs from them, and answers fresh noise in their place with inputs between them, can
neither forget a kind of input nor learn noise by heart. Probabilistic PCA: Tipping & Bishop, 1999; a generator
trained on fixed codes: Bojanowski et al., "Optimizing the latent space of generative networks", 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from reverie.device_runtime.method.rows import Chosen, Rows, in_chunks

SPARE, ROUNDS = 8, 4
"""Directions beyond those that are wanted, and times that they are multiplied with the inputs, to find axes well."""


class Axes(NamedTuple):
    """Of one class: the mean (D,) of its inputs, its axes (A, D), and how widely the inputs spread along each (A,)."""

    mean: np.ndarray
    axes: np.ndarray
    spread: np.ndarray

    def project(self, inputs: np.ndarray) -> np.ndarray:
        """Coordinates (N, A) of `inputs` (N, *S)."""
        return np.asarray((inputs.reshape(len(inputs), -1) - self.mean) @ self.axes.T / self.spread)


class Coordinates:
    """Rows (N, K), computed when they are asked for: of many inputs, axes take less memory than coordinates."""

    def __init__(
        self, inputs: Rows, labels: np.ndarray, count: int, axes: dict[int, Axes], rest: dict[int, np.ndarray]
    ) -> None:
        """`rest` has, for each input of a class with A < K = `count` axes, what stands in for the others (K - A,)."""
        self._inputs = inputs
        self._labels = labels
        self._count = count
        self._axes = axes
        self._rest = rest

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        return len(self), self._count

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, at: Any) -> np.ndarray:
        numbers = np.arange(len(self))[at]
        found = np.empty((len(numbers), self._count), np.float32)
        for slot in np.unique(self._labels[numbers]).tolist():
            places = np.flatnonzero(self._labels[numbers] == slot)
            axes = self._axes[slot]
            found[places, : len(axes.axes)] = axes.project(self._inputs[numbers[places]])
            if slot in self._rest:
                own = np.searchsorted(np.flatnonzero(self._labels == slot), numbers[places])
                found[places, len(axes.axes) :] = self._rest[slot][own]
        return found


def principal_coordinates(inputs: Rows, labels: np.ndarray, count: int, rng: np.random.Generator) -> Coordinates:
    """Noise (N, `count`) for each of `inputs` (N, *S): its whitened principal coordinates within its class.

    They have mean 0 and variance 1 like fresh noise, and neighbours in them look alike. Where a class has fewer
    inputs, or varies in fewer directions, than `count`, the rest is random.
    """
    axes: dict[int, Axes] = {}
    rest: dict[int, np.ndarray] = {}
    for slot in np.unique(labels).tolist():
        own = np.flatnonzero(labels == slot)
        axes[slot] = _axes(Chosen(inputs, own), count, rng)
        if missing := count - len(axes[slot].axes):
            rest[slot] = rng.standard_normal((len(own), missing), dtype=np.float32)
    return Coordinates(inputs, labels, count, axes, rest)


def _axes(inputs: Rows, most: int, rng: np.random.Generator) -> Axes:
    """At most `most` axes of the inputs (N, *S) of one class, those first along which they vary most.

    By subspace iteration from random directions, which reads a few inputs at a time: Halko, Martinsson & Tropp,
    "Finding structure with randomness", 2011, algorithm 4.4.
    """
    size = math.prod(inputs.shape[1:])
    total = sum(part.reshape(len(part), size).sum(axis=0, dtype=np.float64) for part in in_chunks(inputs))
    mean = np.asarray(total / len(inputs), np.float32)

    def added_up(of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.asarray(sum(of(part.reshape(len(part), size) - mean) for part in in_chunks(inputs)))

    def multiplied(directions: np.ndarray) -> np.ndarray:
        return added_up(lambda centred: centred.T @ (centred @ directions))

    directions = rng.standard_normal((size, min(most + SPARE, len(inputs), size)), dtype=np.float32)
    for _ in range(ROUNDS):
        directions = multiplied(np.linalg.qr(directions).Q)
    directions = np.linalg.qr(directions).Q
    squares, turn = np.linalg.eigh(added_up(lambda centred: _products(centred @ directions)) / len(inputs))
    spread = np.sqrt(np.maximum(squares, 0))[::-1][:most]
    used = int((spread > 1e-4 * max(spread[0], 1e-8)).sum())
    axes = (directions @ turn[:, ::-1][:, :used]).T
    # An axis and its opposite are as good: the one whose largest value is positive is taken, on any machine.
    axes *= np.sign(axes[np.arange(used), np.abs(axes).argmax(axis=1)])[:, None]
    return Axes(mean, axes.astype(np.float32), spread[:used].astype(np.float32))


def _products(vectors: np.ndarray) -> np.ndarray:
    """Sums (K, K) of the products of each two columns of `vectors` (n, K)."""
    vectors = vectors.astype(np.float64)
    return np.asarray(vectors.T @ vectors)

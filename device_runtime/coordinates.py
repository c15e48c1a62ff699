"""Where a known input lies in the generator's noise: its principal coordinates within its class.

A generator that reproduces inputs from them, and answers fresh noise in their place with inputs between them, can
neither forget a kind of input nor learn noise by heart. Probabilistic PCA: Tipping & Bishop, 1999; a generator
trained on fixed codes: Bojanowski et al., "Optimizing the latent space of generative networks", 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from reverie.device_runtime.rows import CHUNK, Chosen, Rows, in_chunks

AXES_FROM = 1000
"""Inputs of a class from which its axes are computed; all are then projected onto them."""


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


def principal_coordinates(
    inputs: Rows, labels: np.ndarray, noise_size: int, rng: np.random.Generator, count: int | None = None
) -> Coordinates:
    """A noise vector (N, Z) for each of `inputs` (N, *S): its whitened principal coordinates within its class.

    They have mean 0 and variance 1 like fresh noise, and neighbours in them look alike. Where a class has fewer
    inputs, or varies in fewer directions, than Z, the rest is random. Of each vector, the first `count` are kept.
    """
    count = noise_size if count is None else count
    drawn = copy.deepcopy(rng)
    for _ in _noise(rng, len(labels), noise_size):
        pass
    slots = np.unique(labels).tolist()
    axes = {slot: _axes(Chosen(inputs, np.flatnonzero(labels == slot)), count, rng) for slot in slots}
    few = [slot for slot in slots if len(axes[slot].axes) < count]
    parts: dict[int, list[np.ndarray]] = {slot: [] for slot in few}
    start = 0
    for noise in _noise(drawn, len(labels) if few else 0, noise_size):
        for slot in few:
            own = labels[start : start + len(noise)] == slot
            parts[slot].append(noise[own, len(axes[slot].axes) : count])
        start += len(noise)
    return Coordinates(inputs, labels, count, axes, {slot: np.concatenate(parts[slot]) for slot in few})


def _axes(inputs: Rows, most: int, rng: np.random.Generator) -> Axes:
    """At most `most` axes of the inputs (N, *S) of one class, those first along which they vary most."""
    total = sum(part.reshape(len(part), -1).sum(axis=0, dtype=np.float64) for part in in_chunks(inputs))
    mean = np.asarray(total / len(inputs), np.float32)
    some = inputs[:] if len(inputs) <= AXES_FROM else inputs[rng.choice(len(inputs), AXES_FROM, replace=False)]
    _, scale, axes = np.linalg.svd(some.reshape(len(some), -1) - mean, full_matrices=False)
    used = min(most, int((scale > 1e-4 * max(scale[0], 1e-12)).sum()))
    axes = axes[:used]
    # An axis and its opposite are as good: the one whose largest value is positive is taken, on any machine.
    axes = axes * np.sign(axes[np.arange(used), np.abs(axes).argmax(axis=1)])[:, None]
    plain = Axes(mean, axes, np.ones(used, np.float32))
    squares = sum((plain.project(part) ** 2).sum(axis=0, dtype=np.float64) for part in in_chunks(inputs))
    return plain._replace(spread=np.sqrt(squares / len(inputs) + 1e-12).astype(np.float32))


def _noise(rng: np.random.Generator, count: int, size: int) -> Iterator[np.ndarray]:
    """Standard normal (count, size), CHUNK rows at a time: as if drawn at once."""
    for at in range(0, count, CHUNK):
        yield rng.standard_normal((min(CHUNK, count - at), size), dtype=np.float32)

"""What goes into the generator: noise, standard normal but for a class that was learnt more than once.

Its last values then tell which time the noise is from: half of standard normal noise about a pattern of ±1.5, a row of
a Hadamard matrix for each time (Sylvester, 1867: any two differ in half of their places). The generator so keeps every
kind of input that a class was shown with apart from the others, as the code keeps the classes apart, and what it has
learnt of one time stays where it is when another comes.

Of a class learnt more than `times_kept` times, the pretraining and the newest are kept: a new one takes the place of
the oldest but the pretraining.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.randomness import balanced

MOST_TIMES = 8
MOST_TELLING = 16
"""Values of the noise that tell the time; at most a quarter of the noise does."""


def draw_noise(
    models: Models, count: int, rng: np.random.Generator, balance: bool, spread: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Noise (N, Z) and the class (N,) of each code: what the generator has learnt in equal numbers, or at random."""
    labels = draw_labels(models, count, rng, balance)
    return noise_of(models, labels, rng, spread), labels


def draw_labels(models: Models, count: int, rng: np.random.Generator, balance: bool = True) -> np.ndarray:
    """Classes (N,) that the generator has learnt: in equal numbers, or at random."""
    learnt = np.flatnonzero(models.times_learnt)
    return learnt[balanced(count, len(learnt), rng) if balance else rng.integers(len(learnt), size=count)]


def noise_of(
    models: Models,
    labels: np.ndarray,
    rng: np.random.Generator,
    spread: float = 1.0,
    coming: np.ndarray | None = None,
) -> np.ndarray:
    """Noise (N, Z) for the codes of `labels` (N,), of all times that these were learnt alike.

    Each row is standard normal times a factor between 1 and `spread`, the opposite of the truncation that trades
    variety for looks (Brock et al., "Large scale GAN training", ICLR 2019). Of the classes in `coming`, the time whose
    place their next one takes is left out.
    """
    noise = rng.standard_normal((len(labels), models.manifest.noise_size), dtype=np.float32)
    noise *= rng.uniform(1, spread, (len(labels), 1)).astype(np.float32)
    learnt = models.times_learnt[labels]
    kept = np.clip(learnt, 1, times_kept(models))
    times = rng.integers(kept)
    if coming is not None:
        full = np.isin(labels, coming) & (learnt >= times_kept(models))
        others = rng.integers(np.maximum(kept - 1, 1))
        times = np.where(full, others + (others >= _place(learnt, models)), times)
    return telling(noise, np.where(learnt > 1, times, -1))


def next_time(models: Models, labels: np.ndarray) -> np.ndarray:
    """Which time (N,) an update is for the classes in `labels` (N,): -1, none, for those that are new."""
    learnt = models.times_learnt[labels]
    return np.where(learnt > 0, _place(learnt, models), -1)


def parted(models: Models, noise: np.ndarray, labels: np.ndarray, again: np.ndarray) -> np.ndarray:
    """`noise` (N, Z) for the codes of `labels` (N,) once those of the classes with `again` (N,) have come again.

    What told no time, since `models` had learnt its class once, tells from then on that it is of the pretraining.
    """
    return telling(noise, np.where(again & (models.times_learnt[labels] == 1), 0, -1))


def telling(noise: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`noise` (N, Z) whose last values tell `times` (N,); rows of time -1 stay as they are."""
    size = told_by(noise.shape[1])
    told = noise.copy()
    told[:, -size:] = np.where(times[:, None] < 0, noise[:, -size:], noise[:, -size:] / 2 + 1.5 * _signs(size)[times])
    return told


@cache
def _signs(size: int) -> np.ndarray:
    """Sylvester's Hadamard matrix (size, size), its columns reversed; asked for in every round, made once."""
    return np.array([[1 - 2 * ((t & j).bit_count() % 2) for j in reversed(range(size))] for t in range(size)])


def told_by(noise_size: int) -> int:
    """How many of the last values of the noise tell the time: a power of two."""
    size = 2
    while size < MOST_TELLING and size * 8 <= noise_size:
        size *= 2
    return size


def times_kept(models: Models) -> int:
    """How many times of one class the generator keeps apart."""
    return min(MOST_TIMES, told_by(models.manifest.noise_size))


def _place(learnt: np.ndarray, models: Models) -> np.ndarray:
    """The time at which what comes after `learnt` times (N,) is kept: the pretraining's, 0, is never taken again."""
    return np.where(learnt < 1, 0, 1 + (learnt - 1) % (times_kept(models) - 1))

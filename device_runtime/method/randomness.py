"""Randomness as a pure function of (seed, stage, step), so that a resumed update repeats what it would have done.

Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import zlib

import numpy as np


def rng_for(seed: int, stage: str, step: int = 0) -> np.random.Generator:
    """Numpy's Generator for one step of one stage."""
    # As uint64: numpy takes a list of larger ints through float64 and would drop the step.
    key = np.array([seed, (zlib.crc32(stage.encode()) << 32) | step], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def balanced(count: int, kinds: int, rng: np.random.Generator) -> np.ndarray:
    """`count` numbers below `kinds` (N,) in random order, each as often as any other but for one; chance says which."""
    return rng.permutation(rng.permutation(kinds)[np.arange(count) % kinds])

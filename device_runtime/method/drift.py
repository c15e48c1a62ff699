"""How the statistics at the input of the solver's last layer follow an update, which changes what enters that layer.

Of a known class, no image is left to see anew. Its mean is moved by the drift that generated inputs of the class show,
as Yu et al., "Semantic drift compensation for class-incremental learning", CVPR 2020, move it by that of new images:

    μ_k := μ_k + mean h(x) under the updated solver - mean h(x) under the previous one, x generated of class k

The scatter is kept. The live inputs are added as sums, as the updated solver sees them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reverie.device_runtime.method.few_frames import mean_seen, statistics_seen
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.noise import noise_of
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import generate

SAMPLES = 256
"""Generated inputs of each class."""


def follow(previous: Models, updated: Models, live: Live, seed: int) -> Models:
    """`updated` with the statistics of `previous` moved and those of `live`, which it has learnt, added.

    `updated` itself where the bundle keeps none. Raises BundleError.
    """
    kept = previous.hidden
    if kept is None:
        return updated
    means = kept.means.copy()
    for slot in np.flatnonzero((kept.counts > 0) & (previous.times_learnt > 0)):
        codes = np.full(SAMPLES, slot)
        inputs = generate(previous, noise_of(previous, codes, rng_for(seed, "drift", int(slot))), codes)
        means[slot] += mean_seen(updated, inputs) - mean_seen(previous, inputs)
    return updated.with_hidden(replace(kept, means=means) + statistics_seen(updated, live))

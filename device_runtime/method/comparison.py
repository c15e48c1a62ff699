"""What the previous and the updated solver say of the same inputs: of held-out frames, and of generated ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.models import Models, run_in_chunks, softened
from reverie.device_runtime.method.noise import draw_noise
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import generate, pool_size
from reverie.device_runtime.method.rows import Rows, in_chunks

SAMPLES = 1000
"""Generated inputs to compare on; fewer where they are large."""


class Comparison(NamedTuple):
    """Class slots (N,) that both solvers give: to the frames `held_out`, and to what the previous generator makes."""

    live: Live
    """What was learnt."""
    held_out: Live
    """What was not, or all of it, each judged by what the others gave."""
    held_out_before: np.ndarray
    held_out_after: np.ndarray
    held_out_probabilities: np.ndarray
    """Of the class slots (N, C), by the updated solver."""
    noise: np.ndarray
    codes: np.ndarray
    """The generated inputs are of these class slots (N,), and of `noise` (N, D)."""
    generated_before: np.ndarray
    generated_after: np.ndarray

    @property
    def each_left_out(self) -> bool:
        """Whether what was learnt is also what judges it, one input left out at a time."""
        return self.held_out is self.live

    @property
    def agreement(self) -> float:
        """Share of the generated inputs on which both solvers say the same."""
        return float((self.generated_before == self.generated_after).mean())


def compare(
    previous: Models,
    updated: Models,
    live: Live,
    held_out: Live,
    config: UpdateConfig,
    left_out: np.ndarray | None = None,
) -> Comparison:
    """Ask both solvers. `held_out` was not learnt with `live`, which judges itself by its logits `left_out` (N, C)."""
    noise, codes = draw_noise(previous, pool_size(previous, SAMPLES), rng_for(config.seed, "evaluation"), balance=True)
    generated = generate(previous, noise, codes)
    logits = np.empty((0, previous.manifest.slots), np.float32)
    if left_out is not None:
        held_out, logits = live, left_out
    elif len(held_out.inputs):
        logits = run_in_chunks(updated.solver_graph, "logits", input=held_out.inputs)
    return Comparison(
        live=live,
        held_out=held_out,
        held_out_before=predict(previous, held_out.inputs),
        held_out_after=logits.argmax(axis=1),
        held_out_probabilities=softened(logits, 1.0),
        noise=noise,
        codes=codes,
        generated_before=predict(previous, generated),
        generated_after=predict(updated, generated),
    )


def predict(models: Models, inputs: Rows) -> np.ndarray:
    """Class slot (N,) that the solver finds most likely."""
    seen = [models.solver_graph.run({"input": part})["logits"].argmax(axis=1) for part in in_chunks(inputs)]
    return np.concatenate([np.empty(0, np.int64), *seen])


def accuracy(models: Models, inputs: Rows, slots: np.ndarray | int) -> float:
    """Share of `inputs` (N, *S) that the solver puts into `slots`, (N,) or the same for all."""
    return float((predict(models, inputs) == slots).mean())


def surely_other(probabilities: np.ndarray, labels: np.ndarray, sure: float = np.inf) -> np.ndarray:
    """The class slot (N,) that each of `labels` (N,) surely should be in its place, by `probabilities` (N, C), or -1.

    Surely: likelier than all others, and no less likely than that is on average where it is the label, or than `sure`
    where it is nobody's (Northcutt et al., "Confident learning", JAIR 2021).
    """
    found = probabilities.argmax(axis=1)
    bound = np.full(probabilities.shape[1], sure)
    for slot in np.unique(labels):
        bound[slot] = probabilities[labels == slot, slot].mean()
    is_sure = probabilities[np.arange(len(found)), found] >= bound[found]
    return np.where((found != labels) & is_sure, found, -1)

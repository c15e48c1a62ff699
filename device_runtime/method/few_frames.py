"""How an update begins where new classes have few frames, and statistics of the known ones stand beside the generator.

Trained from a spare slot with soft replay, a new class of five frames is hardly ever predicted: the frames are soon
known by heart, and every generated input pushes the new logits down. So the row of a new class c in the solver's last
layer, W·h + b, begins near a linear discriminant of what enters that layer, h, and is trained less:

    n     = mean number of frames of a new class, those held out left aside
    r     = min(1, n / ENOUGH), the share of an update of many frames
    w_k   = Σ⁻¹μ_k, b_k = -½·μ_kᵀΣ⁻¹μ_k   of every class k, from the statistics and the frames of the new classes
    s     = slope of the layer's logits on these, measured at the export: both then have one scale
    q_ck  = mean over the frames of c of what the pretrained solver gives the known class k
    row_c = s·w_c + Σ_k q_ck·(W_k - s·w_k)
    W_c  := (1 - r)·row_c + r·W_c, and the bias likewise

The second term of row_c is by how much the layer differs from the discriminant for the classes that c is taken for: a
threshold between layers of unlike origin, which the known classes then keep. Replay is softened at a temperature of
1 + r·(T - 1), the learning rate of stage 2 is r times its own, and stages 3 to 5 are left out. With r = 1 all is as
without statistics. Measured in docs/decisions/method.md.

The discriminant: Fisher, "The use of multiple measurements in taxonomic problems", 1936, on sums as in `closed_form`.
A row that begins at what the frames look like: Qi, Brown & Lowe, "Low-shot learning with imprinted weights", CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from reverie.device_runtime.bundle.hidden import Hidden
from reverie.device_runtime.bundle.manifest import Weights
from reverie.device_runtime.bundle.statistics import ClassStatistics
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method.closed_form import left_out_logits, plain_layer, statistics_of
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.models import Models, run_in_chunks
from reverie.device_runtime.method.rows import CHUNK, Chosen, Rows

ENOUGH = 64
"""Frames of a new class from which an update needs no help."""


def begin(pretrained: Models, start: Models, live: Live, config: UpdateConfig) -> tuple[Models, UpdateConfig]:
    """What stage 2 begins with, and how the update goes on: `start` and `config` as they are, or by the rule above.

    `start` are the `pretrained` models with the new classes of `live` in use. A pure function of all four. Raises
    FramesError where statistics of a class would show its frames, BundleError where the solver gives no `hidden`.
    """
    hidden, known = pretrained.manifest.hidden, pretrained.hidden
    if hidden is None or known is None:
        return start, config
    start.require_enough(known.counts + np.bincount(live.labels, minlength=start.manifest.slots))
    share = share_of(pretrained, live)
    if share == 1 or not config.closed_form:
        return start, config
    config = replace(
        config,
        replay=replace(config.replay, temperature=1 + share * (config.replay.temperature - 1)),
        fine_tune=replace(config.fine_tune, learning_rate=share * config.fine_tune.learning_rate),
        synthesis=replace(config.synthesis, count=0),
    )
    return start.with_solver(begun_rows(pretrained, hidden, known, _new_of(pretrained, live), share)), config


def share_of(pretrained: Models, live: Live) -> float:
    """r, in (0, 1]; 1 where no class is new."""
    new = live.labels[live.labels >= len(pretrained.classes)]
    return min(1.0, len(new) / len(np.unique(new)) / ENOUGH) if len(new) else 1.0


def begun_rows(pretrained: Models, hidden: Hidden, known: ClassStatistics, new: Live, share: float) -> Weights:
    """Weight and bias of the last layer with the rows of the classes in `new` begun for a `share` r."""
    slots = np.unique(new.labels)
    weight, bias = plain_layer(known + statistics_seen(pretrained, new), hidden.epsilon)
    others = known.used
    probabilities = run_in_chunks(pretrained.solver_graph, "probabilities", input=new.inputs)
    taken = np.stack([probabilities[new.labels == slot].mean(axis=0, dtype=np.float64)[others] for slot in slots])
    begun = {}
    for name, discriminant in ((hidden.weight, hidden.slope * weight), (hidden.bias, hidden.slope * bias)):
        rows = pretrained.solver[name].astype(np.float64)
        closed = discriminant[slots] + taken @ (rows[others] - discriminant[others])
        rows[slots] = (1 - share) * closed + share * rows[slots]
        begun[name] = rows.astype(np.float32)
    return begun


def statistics_seen(models: Models, live: Live) -> ClassStatistics:
    """Of `live` at the input of the last layer, as the solver of `models` sees it. Raises BundleError."""
    first, *others = (
        statistics_of(seen, live.labels[at : at + CHUNK], models.manifest.slots)
        for at, seen in zip(range(0, len(live.labels), CHUNK), _hidden_chunks(models, live.inputs), strict=True)
    )
    return sum(others, start=first)


def left_out_seen(models: Models, live: Live) -> np.ndarray:
    """Logits (N, C) that the linear discriminant would give each of `live`, seen as the last layer sees it, had it not
    come, in the layer's own scale. Raises BundleError.
    """
    hidden, known = models.manifest.hidden, models.hidden
    if hidden is None or known is None:
        raise ValueError("these models keep no statistics beside their generator")
    seen = np.concatenate(list(_hidden_chunks(models, live.inputs)))
    both = known + statistics_of(seen, live.labels, models.manifest.slots)
    return hidden.slope * left_out_logits(both, hidden.epsilon, seen, live.labels)


def mean_seen(models: Models, inputs: np.ndarray) -> np.ndarray:
    """The mean (D,) of `inputs` (N, *S) at the input of the last layer, float64. Raises BundleError."""
    sums = [seen.sum(axis=0, dtype=np.float64) for seen in _hidden_chunks(models, inputs)]
    return np.asarray(np.sum(sums, axis=0) / len(inputs))


def _hidden_chunks(models: Models, inputs: Rows) -> Iterator[np.ndarray]:
    """What enters the last layer (n, D), CHUNK of `inputs` at a time."""
    size = 0 if models.manifest.hidden is None else models.manifest.hidden.size
    for at in range(0, len(inputs), CHUNK):
        part = inputs[at : at + CHUNK]
        seen = models.solver_graph.run({"input": part}).get("hidden", np.empty(0))
        if seen.shape != (len(part), size):
            raise BundleError(
                f"the solver of {models.manifest.name} does not give the {size} values that enter its last layer: "
                "export the bundle again"
            )
        yield seen


def _new_of(pretrained: Models, live: Live) -> Live:
    """Those of `live` whose classes `pretrained` does not know, not read yet."""
    rows = np.flatnonzero(live.labels >= len(pretrained.classes))
    return Live(Chosen(live.inputs, rows), live.labels[rows])

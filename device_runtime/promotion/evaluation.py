"""What is measured of an update for `promotion.py`: on held-out frames, generated inputs, canary images."""

from __future__ import annotations

import hashlib
import time
from collections import Counter as Counted
from collections.abc import Iterator

import numpy as np

from reverie.device_runtime.bundle.canary import read_canary
from reverie.device_runtime.bundle.manifest import Weights
from reverie.device_runtime.method.comparison import Comparison, predict, surely_other
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.noise import parted
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import generate
from reverie.device_runtime.method.rows import Rows, in_chunks
from reverie.device_runtime.promotion.figures import Counts, Figures, GeneratorFigures

TIMED = 30
"""Most predictions timed of each solver."""
TIMED_SECONDS = 2.0


def evaluate(previous: Models, updated: Models, compared: Comparison) -> Figures:
    """All that `promotion` asks about `updated`, beside `previous`. Raises BundleError."""
    live = compared.live
    canary = read_canary(previous.folder, previous.manifest)
    return Figures(
        finite=_finite(updated.solver),
        held_out=tuple(_counts(previous, updated, compared, slot) for slot in np.unique(live.labels)),
        learnt=tuple(_shown(updated, live, slot) for slot in np.unique(live.labels) if slot >= len(previous.classes)),
        unseen=tuple(_unseen(compared, slot) for slot in np.unique(live.labels)),
        contradicted=contradicted(compared.held_out_probabilities, compared.held_out.labels),
        generated=_by_class(previous, compared.generated_before, compared.generated_before, compared.generated_after),
        canary=()
        if canary is None
        else _by_class(previous, canary.labels, predict(previous, canary.inputs), predict(updated, canary.inputs)),
        milliseconds=_milliseconds(previous, updated),
        each_left_out=compared.each_left_out,
        generator=_generator_figures(previous, updated, compared) if updated.manifest.has_generator else None,
    )


def contradicted(probabilities: np.ndarray, labels: np.ndarray) -> int:
    """How many of `labels` (N,) a solver with `probabilities` (N, C) is sure to be another one of them."""
    return int((surely_other(probabilities, labels) >= 0).sum())


def _counts(previous: Models, updated: Models, compared: Comparison, slot: int) -> Counts:
    rows = compared.held_out.labels == slot
    before = (compared.held_out_before[rows] == slot) & (slot < len(previous.classes))
    after = compared.held_out_after[rows] == slot
    lost = int((before & ~after).sum())
    return Counts(updated.classes[slot], int(rows.sum()), int(before.sum()), int(after.sum()), lost)


def _shown(updated: Models, live: Live, slot: int) -> Counts:
    """Of a new class, the frames that were learnt."""
    seen = predict(updated, live.of(slot))
    return Counts(updated.classes[slot], len(seen), 0, int((seen == slot).sum()))


def _unseen(compared: Comparison, slot: int) -> int:
    """Held-out frames that are no copies of others that were learnt."""
    shown = [*_digests(compared.held_out.of(slot))]
    if compared.each_left_out:
        return sum(count == 1 for count in Counted(shown).values())
    asked = set(shown)
    learnt = {digest for digest in _digests(compared.live.of(slot)) if digest in asked}
    return sum(digest not in learnt for digest in shown)


def _digests(inputs: Rows) -> Iterator[bytes]:
    for part in in_chunks(inputs):
        yield from (hashlib.sha256(row.tobytes()).digest() for row in part)


def _by_class(models: Models, truth: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[Counts, ...]:
    """Counts of each class of `models`; all arrays are class slots (N,)."""
    rows = [truth == slot for slot in range(len(models.classes))]
    return tuple(
        Counts(
            label,
            int(r.sum()),
            int((before[r] == slot).sum()),
            int((after[r] == slot).sum()),
            int(((before[r] == slot) & (after[r] != slot)).sum()),
        )
        for slot, (label, r) in enumerate(zip(models.classes, rows, strict=True))
    )


def _generator_figures(previous: Models, updated: Models, compared: Comparison) -> GeneratorFigures:
    """The same noise through both generators, `parted` for the updated one, and through that noise for new classes."""
    noise, codes = compared.noise, compared.codes
    now = generate(updated, parted(previous, noise, codes, updated.times_learnt[codes] > 1), codes)
    new = np.arange(len(previous.classes), len(updated.classes))
    new_codes = np.repeat(new, max(1, len(codes) // len(updated.classes)))
    rng = rng_for(updated.manifest.slots, "evaluation: new classes")
    drawn = rng.standard_normal((len(new_codes), noise.shape[1]), dtype=np.float32)
    finite = all(_finite(weights) for weights in (updated.generator, updated.discriminator))
    shown: tuple[Counts, ...] = ()
    if len(new):
        made = generate(updated, drawn, new_codes)
        finite = finite and bool(np.isfinite(made).all())
        seen = predict(updated, made)
        shown = tuple(
            Counts(updated.classes[s], int((new_codes == s).sum()), 0, int((seen[new_codes == s] == s).sum()))
            for s in new
        )
    return GeneratorFigures(
        finite=finite and bool(np.isfinite(now).all()),
        known=_by_class(previous, codes, compared.generated_after, predict(updated, now)),
        new=shown,
    )


def _finite(weights: Weights) -> bool:
    return all(bool(np.isfinite(value).all()) for value in weights.values())


def _milliseconds(previous: Models, updated: Models) -> tuple[float, float]:
    """Fastest prediction of one input by each solver, in turns, so that whatever else runs disturbs both alike."""
    one = {"input": np.zeros((1, *previous.manifest.input_shape), np.float32)}
    graphs = (previous.solver_graph, updated.solver_graph)
    fastest = [float("inf"), float("inf")]
    end = time.monotonic() + TIMED_SECONDS
    for turn in range(TIMED):
        if turn >= 3 and time.monotonic() > end:
            break
        for at, graph in enumerate(graphs):
            began = time.perf_counter()
            graph.run(one)
            fastest[at] = min(fastest[at], time.perf_counter() - began)
    return 1000 * fastest[0], 1000 * fastest[1]

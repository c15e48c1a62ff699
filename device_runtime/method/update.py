"""One update, told from top to bottom: the six stages of the method.

    1  replay             noise → pretrained generator → inputs, labelled by the pretrained solver
    2  fine-tune          generated and live inputs train the solver → the trained solver
    3  synthesis          start inputs go through the pretrained and the trained solver, both fixed,
    4                     and change along the gradient of a loss of both results and a reference label
    5  retrain            synthesised inputs train the trained solver → the updated solver
    6  generative update  discriminator and generator learn the live inputs, for the next update

Behind a backbone, what is kept of classes takes the place of generator and discriminator: what is generated is drawn
from a Gaussian of each class, and stage 6 adds the live inputs to the sums. A solver that is one linear layer is solved
from statistics in stage 2; any other is trained. Both are done then: stages 3 to 5 gain nothing there, and are left
out. Bundles of before keep a generator there too. In pixels, class statistics may stand beside the
generator: then new classes of few frames begin by a rule of their own, and the statistics follow each update.

Every stage begins where the monitor says that it stopped, and ends in the same result however often it was cut off.
Nothing here touches the disk: `transaction.go_on` keeps the states of the stages and puts the result into service.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.rehearsal import Rehearsal
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.method import drift, few_frames, fit, generative, synthesis
from reverie.device_runtime.method.comparison import Comparison, compare
from reverie.device_runtime.method.labelled import Frames, extend_classes, split
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.noise import times_kept
from reverie.device_runtime.method.replay import Replay
from reverie.device_runtime.method.report import Report, make_report


class Updated(NamedTuple):
    """The models after the update, what was measured, and the synthesised inputs (N, *S) with their references (N,)."""

    models: Models
    compared: Comparison
    report: Report
    synthesised: np.ndarray
    references: np.ndarray


def run_update(pretrained: Models, frames: Frames, config: UpdateConfig, monitor: Monitor) -> Updated:
    """Learn `frames` with all six stages. Raises FramesError before any work, TrainingError where a loss is NaN."""
    config = as_rehearsed(config, pretrained.manifest.rehearsal)
    classes = extend_classes(pretrained.classes, frames.classes, pretrained.manifest.slots)
    solves = is_solved(pretrained, config)
    live, held_out = split(frames, classes, 0.0 if solves else config.holdout, config.seed)
    start, config = few_frames.begin(pretrained, pretrained.with_classes(classes), live, config)
    keeps_sums = not pretrained.manifest.has_generator
    if keeps_sums:
        config = config.on_features()
    ratio = _per_live(pretrained, len(frames.classes), config)

    with monitor.stage("replay"):
        replay = Replay(pretrained, config.replay, config.seed)
        if monitor.resume() is None:
            if not solves:
                replay.pool("fine-tune", 0)
            monitor.step(1, 1)
            monitor.save({})

    with monitor.stage("fine-tune"):
        if solves:
            trained = start.gathered(*live).solved()
            monitor.step(1, 1)
        else:
            tuned = fit.fine_tune(start, replay, live, ratio, config.fine_tune, config.seed, monitor)
            trained = start.with_solver(tuned)

    updated, synthesised = trained, np.empty((0, *pretrained.manifest.input_shape), np.float32)
    references = np.empty(0, np.int64)
    is_done = keeps_sums and config.closed_form
    if config.synthesis.count and (not is_done or config.synthesis.after_solving):
        with monitor.stage("synthesis"):
            found = synthesis.synthesise(
                pretrained, trained, live.labels, config.synthesis, config.replay, config.seed, monitor
            )
            synthesised, references = found.examples.inputs, found.references

        with monitor.stage("retrain"):
            updated = trained.with_solver(
                fit.retrain(trained, replay, live, found.examples, ratio, config.retrain, config.seed, monitor)
            )

    del replay  # whose pool of generated inputs would stay in memory
    if keeps_sums:
        with monitor.stage("generative update"):
            updated = updated if solves else updated.gathered(*live)
            monitor.step(1, 1)
    elif config.generative.steps:
        with monitor.stage("generative update"):
            generator, discriminator = generative.update_generator(
                pretrained, updated, live, config.generative, config.seed, monitor
            )
            learnt = updated.learnt_once_more(live.labels, apart=config.generative.anchor > 0)
            updated = updated.with_generative(generator, discriminator, learnt)

    updated = drift.follow(pretrained, updated, live, config.seed)

    left_out = trained.left_out(*live) if solves else None
    compared = compare(pretrained, updated, live, held_out, config, left_out)
    report = make_report(pretrained, updated, compared, config, monitor)
    return Updated(updated, compared, report, synthesised, references)


def as_rehearsed(config: UpdateConfig, rehearsal: Rehearsal | None) -> UpdateConfig:
    """`config` with what a rehearsal chose for this bundle, where it asks for nothing else than the default."""
    default = UpdateConfig()
    if rehearsal is not None and not rehearsal.synthesis and config.synthesis == default.synthesis:
        config = replace(config, synthesis=replace(config.synthesis, count=0))
    if rehearsal is not None and config.fine_tune == default.fine_tune:
        rate = rehearsal.learning_rate * config.fine_tune.learning_rate
        config = replace(config, fine_tune=replace(config.fine_tune, learning_rate=rate))
    return config


def is_solved(models: Models, config: UpdateConfig) -> bool:
    """Whether the solver follows from class statistics, each frame judged as if it had not been among those learnt."""
    return models.statistics is not None and config.closed_form


def _per_live(pretrained: Models, live_classes: int, config: UpdateConfig) -> float:
    """Generated inputs for each live one."""
    if config.replay.per_live is not None:
        return config.replay.per_live
    return float(np.minimum(pretrained.times_learnt, times_kept(pretrained)).sum()) / live_classes

"""`reverie bench accuracy`: run a protocol over seeds with the device runtime, its forms and the baselines.

All forms start from the same pretrained models and see the same live images. `forms.py` and `baselines.py` say what
each is, `protocols.py` what is learnt.
"""

from __future__ import annotations

import base64
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.models import Models
from reverie.device_runtime.monitor import Monitor
from reverie.device_runtime.pictures import picture_of_classes, picture_of_inputs
from reverie.device_runtime.report import accuracy, predict
from reverie.device_runtime.update import run_update
from reverie.tools import baselines
from reverie.tools.accuracy_start import Measured, apart
from reverie.tools.forms import FORMS, all_forms
from reverie.tools.protocols import Protocol, as_frames
from reverie.tools.results import Run

NAMES = (*baselines.BASELINES, "ewc", *FORMS)
"""What is compared unless some are chosen."""
EWC_STRENGTH = 1e3
"""Chosen on validation images, of powers of ten."""


def measure(begin: Callable[[Path], Measured], forms: Sequence[str], console: Console) -> Iterator[Run]:
    """Run every form from the same start, which `begin` makes in a scratch folder."""
    if not forms:
        return
    with tempfile.TemporaryDirectory() as scratch:
        measured = begin(Path(scratch))
        for form in forms:
            # Without the sessions of the form before, which a process cannot be sent.
            fresh = dataclasses.replace(measured, start=dataclasses.replace(measured.start))
            run = apart(_run, form, fresh) if form == "ewc" else _run(form, fresh)
            accuracies = ", ".join(f"{run.overall(i):.2%}" for i in range(len(run.matrix)))
            console.print(
                f"{run.dataset} {run.protocol} seed {run.seed} {form}: {accuracies}  {sum(run.seconds):.0f} s"
            )
            yield run


def _run(form: str, measured: Measured) -> Run:
    steps, models = measured.steps, measured.start
    config = UpdateConfig(seed=measured.seed)
    run = Run(measured.dataset, measured.protocol, form, measured.seed, [_scores(models, steps, 0)], steps.weights())
    update = _learner(form, measured, config, run)
    for number in range(1, len(steps.updates) + 1):
        before, monitor, began = models, Monitor(), time.monotonic()
        models = update(models, number, monitor)
        run.seconds.append(time.monotonic() - began)
        run.peak_bytes.append(max(record.peak_bytes for record in monitor.records.values()))
        run.matrix.append(_scores(models, steps, number))
        run.confused.append(_confused(before, models, steps, number))
    return run


def _learner(form: str, measured: Measured, config: UpdateConfig, run: Run) -> Callable[[Models, int, Monitor], Models]:
    """How `form` makes update `number` of `models`; what only a whole update tells is noted in `run`."""
    steps = measured.steps
    if form == "ewc":
        from reverie.tools.ewc import Ewc

        chain = Ewc(measured.pretrained, steps.slots - len(measured.start.classes), EWC_STRENGTH)
        return lambda models, number, monitor: chain.train(baselines.task(models, steps, number, config), monitor)
    if form in baselines.BASELINES:
        return lambda models, number, monitor: baselines.train(
            form, baselines.task(models, steps, number, config), monitor
        )
    changed = all_forms()[form](config)

    def whole_update(models: Models, number: int, monitor: Monitor) -> Models:
        updated = run_update(models, as_frames(steps.updates[number - 1], steps.names), changed, monitor)
        run.coverage.append(updated.report.coverage)
        run.agreement.append(updated.report.agreement)
        how = models.manifest.preprocessing
        if models.manifest.backbone is not None:
            return updated.models
        run.pictures["generated"] = _text(picture_of_classes(updated.models, scale=1))
        if len(updated.synthesised):
            run.pictures["synthesised"] = _text(
                picture_of_inputs(updated.synthesised, updated.references, how, scale=1)
            )
        return updated.models

    return whole_update


def _text(png: bytes) -> str:
    return base64.b64encode(png).decode()


def _scores(models: Models, steps: Protocol, update: int) -> list[float]:
    return [accuracy(models, test.inputs, test.labels) for test in steps.tests[: update + 1]]


def _confused(before: Models, after: Models, steps: Protocol, update: int) -> list[float]:
    """Share of old classes' test images taken for classes that are new in this update, and of new ones' for old."""
    known = len(before.classes)
    old = np.concatenate([test.inputs for test in steps.tests[:update]])
    taken_for_new = float((predict(after, old) >= known).mean())
    new = steps.tests[update].of(list(range(known, len(after.classes))))
    taken_for_old = float((predict(after, new.inputs) < known).mean()) if len(new.labels) else 0.0
    return [taken_for_new, taken_for_old]

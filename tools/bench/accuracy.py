"""`reverie bench accuracy`: run a protocol over seeds with the device runtime, its forms and the baselines.

All forms start from the same pretrained models and see the same live images. `forms.py`, `baselines.py`,
`closed_forms.py` and `gaussian.py` say what each is, `protocols.py` and `folder_protocols.py` what is learnt.
"""

from __future__ import annotations

import base64
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.home.pictures import picture_of_classes, picture_of_inputs
from reverie.device_runtime.method.comparison import predict
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.rows import Rows
from reverie.device_runtime.method.update import Updated, run_update
from reverie.tools.bench import baselines
from reverie.tools.bench.accuracy_start import Measured, apart
from reverie.tools.bench.closed_forms import CLOSED_FORMS, ClosedForm, require_features
from reverie.tools.bench.forms import FORMS, all_forms
from reverie.tools.bench.gaussian import GAUSSIAN, GaussianReplay
from reverie.tools.bench.protocols import Protocol, as_frames
from reverie.tools.bench.results import Run
from reverie.tools.bench.unknown import unknown_figures

Update = Callable[[Models, int, Monitor], Models]
"""The models after update `number` of those before it."""
Answer = Callable[[Models, Rows], np.ndarray]
"""The class slot (N,) that each of the inputs is taken for."""

IN_TORCH = ("lwf", "ewc")
"""Baselines of `regularised.py`."""
NAMES = (*baselines.BASELINES, *IN_TORCH, *FORMS)
"""What is compared unless some are chosen."""
ON_FEATURES = (*CLOSED_FORMS, GAUSSIAN)
"""Baselines for one linear layer behind a backbone."""
SOLVER_STAGES = ("fine-tune", "retrain")
EWC_STRENGTH = 1e10
"""λ: the best of 1e2 to 1e10 on Fashion-MNIST `split-domain`, as van de Ven et al. found for MNIST `split-domain`."""


def measure(begin: Callable[[Path], Measured], forms: Sequence[str], console: Console) -> Iterator[Run]:
    """Run every form from the same start, which `begin` makes in a scratch folder."""
    if not forms:
        return
    with tempfile.TemporaryDirectory() as scratch:
        measured = begin(Path(scratch))
        for form in ON_FEATURES:
            if form in forms:
                require_features(form, measured.start)
        for form in forms:
            # Without the sessions of the form before, which a process cannot be sent.
            fresh = dataclasses.replace(measured, start=dataclasses.replace(measured.start))
            run = apart(_run, form, fresh) if form in IN_TORCH else _run(form, fresh)
            accuracies = ", ".join(f"{run.overall(i):.2%}" for i in range(len(run.matrix)))
            console.print(
                f"{run.dataset} {run.protocol} seed {run.seed} {form}: {accuracies}  {sum(run.seconds):.0f} s"
            )
            yield run


def _run(form: str, measured: Measured) -> Run:
    steps, models = measured.steps, measured.start
    config = UpdateConfig(seed=measured.seed)
    answers = _answers(predict, models, steps, 0)
    run = Run(
        measured.dataset,
        measured.protocol,
        form,
        measured.seed,
        [_scores(answers, steps)],
        steps.weights(),
        settings=measured.settings,
    )
    if form == "default":
        run.unknown.update(unknown_figures(models, steps))
    update, answer = _learner(form, measured, config, run)
    for number in range(1, len(steps.updates) + 1):
        known, monitor, began = len(models.classes), Monitor(), time.monotonic()
        models = update(models, number, monitor)
        run.seconds.append(time.monotonic() - began)
        run.peak_bytes.append(max(record.peak_bytes for record in monitor.records.values()))
        run.steps.append(sum(monitor.records[stage].steps for stage in SOLVER_STAGES if stage in monitor.records))
        answers = _answers(answer, models, steps, number)
        run.matrix.append(_scores(answers, steps))
        run.confused.append(_confused(answers, steps, known))
    run.by_class.extend(_scores_by_class(answers, steps))
    return run


def _learner(form: str, measured: Measured, config: UpdateConfig, run: Run) -> tuple[Update, Answer]:
    """How `form` learns and answers; what only a whole update tells is noted in `run`."""
    steps, start = measured.steps, measured.start
    if form in CLOSED_FORMS:
        sums = ClosedForm(form, start, steps.history, measured.seed)
        return _of_tasks(sums.train, steps, config), sums.answer
    if form == GAUSSIAN:
        return _of_tasks(GaussianReplay(start, steps.history).train, steps, config), predict
    if form in IN_TORCH:
        from reverie.tools.bench.regularised import Ewc, Lwf

        spare = steps.slots - len(start.classes)
        chain = Lwf(measured.pretrained, spare) if form == "lwf" else Ewc(measured.pretrained, spare, EWC_STRENGTH)
        return _of_tasks(chain.train, steps, config), predict
    if form in baselines.BASELINES:
        return _of_tasks(partial(baselines.train, form), steps, config), predict
    changed = all_forms()[form](config)

    def whole_update(models: Models, number: int, monitor: Monitor) -> Models:
        updated = run_update(models, as_frames(steps.updates[number - 1], steps.names), changed, monitor)
        run.coverage.append(updated.report.coverage)
        run.agreement.append(updated.report.agreement)
        if models.manifest.backbone is None:
            run.pictures.update(_pictures(updated))
        return updated.models

    return whole_update, predict


def _of_tasks(train: Callable[[baselines.Task, Monitor], Models], steps: Protocol, config: UpdateConfig) -> Update:
    """How a baseline makes an update that trains on the task alone."""
    return lambda models, number, monitor: train(baselines.task(models, steps, number, config), monitor)


def _pictures(updated: Updated) -> dict[str, str]:
    """As `Run.pictures` holds them."""
    drawn = {"generated": picture_of_classes(updated.models, scale=1)}
    if len(updated.synthesised):
        how = updated.models.manifest.preprocessing
        drawn["synthesised"] = picture_of_inputs(updated.synthesised, updated.references, how, scale=1)
    return {name: base64.b64encode(png).decode() for name, png in drawn.items()}


def _answers(answer: Answer, models: Models, steps: Protocol, update: int) -> list[np.ndarray]:
    """The class (N,) that each test image of the tasks until `update` is taken for."""
    return [answer(models, test.inputs) for test in steps.tests[: update + 1]]


def _scores(answers: list[np.ndarray], steps: Protocol) -> list[float]:
    return [float((seen == test.labels).mean()) for seen, test in zip(answers, steps.tests, strict=False)]


def _scores_by_class(answers: list[np.ndarray], steps: Protocol) -> list[float]:
    """Of the answers after the last update."""
    seen = np.concatenate(answers)
    labels = np.concatenate([test.labels for test in steps.tests])
    return [float((seen[labels == slot] == slot).mean()) for slot in np.unique(labels)]


def _confused(answers: list[np.ndarray], steps: Protocol, known: int) -> list[float]:
    """Share of old tasks' test images taken for classes from `known` on, which are new, and of new ones' for old."""
    *old, last = answers
    of_new = last[steps.tests[len(old)].labels >= known]
    taken_for_old = float((of_new < known).mean()) if len(of_new) else 0.0
    return [float((np.concatenate(old) >= known).mean()), taken_for_old]

"""`reverie bench accuracy`: run a protocol over seeds with the device runtime and its baselines.

    none     fine-tune on the live images alone
    joint    fine-tune on the historical images themselves and the live ones: what replay would be if it were perfect
    literal  the published form of the method
    default  the default configuration

All four start from the same pretrained models and see the same live images. Forgetting of a task is its best earlier
accuracy minus its last (Chaudhry et al., "Riemannian walk", ECCV 2018), averaged over all tasks but the last.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from reverie.device_runtime import installation, store
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.fit import Live, Source, fit, live_source
from reverie.device_runtime.frames import extend_classes, split
from reverie.device_runtime.models import Models
from reverie.device_runtime.monitor import Monitor
from reverie.device_runtime.report import accuracy
from reverie.device_runtime.update import run_update
from reverie.tools.protocols import PROTOCOLS, Protocol, Samples, as_frames, read_idx, validation_split

FORMS = ("none", "joint", "literal", "default")


@dataclass(frozen=True)
class Run:
    """One form on one protocol with one seed. `matrix[i][j]`: accuracy on task j after update i (0: pretraining)."""

    dataset: str
    protocol: str
    form: str
    seed: int
    matrix: list[list[float]]
    sizes: list[int]
    seconds: list[float]
    peak_bytes: list[int]
    coverage: list[dict[str, float]] = field(default_factory=list)

    def overall(self, update: int) -> float:
        """Accuracy on all test images of the tasks seen until `update`."""
        row = self.matrix[update]
        return float(np.average(row, weights=self.sizes[: len(row)]))

    def forgetting(self) -> float:
        """Mean over all tasks but the last of best earlier minus final accuracy."""
        final = self.matrix[-1]
        earlier = [max(row[task] for row in self.matrix[:-1] if len(row) > task) for task in range(len(self.sizes) - 1)]
        return float(np.mean([best - final[task] for task, best in enumerate(earlier)])) if earlier else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries, with the derived figures."""
        overall = [self.overall(update) for update in range(len(self.matrix))]
        return dataclasses.asdict(self) | {"overall": overall, "forgetting": self.forgetting()}


def measure(
    data: Path,
    dataset: str,
    protocol: str,
    seed: int,
    forms: Sequence[str],
    cache: Path | None,
    validation: bool,
    console: Console,
) -> Iterator[Run]:
    """Pretrain (or take from `cache`) and run every form. No test image reaches training or a choice of settings."""
    if not forms:
        return
    train = read_idx(data / dataset, "train")
    if validation:
        train, test = validation_split(train)
    else:
        test = read_idx(data / dataset, "t10k")
    steps = PROTOCOLS[protocol](train, test, seed)
    del train, test
    with tempfile.TemporaryDirectory() as scratch:
        name = f"{dataset}-{protocol}-{seed}" + ("-validation" if validation else "")
        bundle = Path(scratch) / "bundle"
        # In a process of its own, so that torch is not in the memory that is measured here.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pretrained = (cache or Path(scratch)) / name
            pool.submit(_prepare, steps.history, pretrained, bundle, steps.slots, seed).result()
        home = Path(scratch) / "home"
        generation = installation.install(bundle, home)
        start = store.load_models(home, generation)
        for form in forms:
            run = _run(form, start, steps, scored_on(dataset, validation), protocol, seed)
            accuracies = ", ".join(f"{run.overall(i):.2%}" for i in range(len(run.matrix)))
            console.print(f"{run.dataset} {protocol} seed {seed} {form}: {accuracies}  {sum(run.seconds):.0f} s")
            yield run


def scored_on(dataset: str, validation: bool) -> str:
    """Name of the data set in a Run, so that figures on validation images are never taken for test figures."""
    return f"{dataset} validation" if validation else dataset


def _prepare(history: Samples, pretrained: Path, bundle: Path, slots: int, seed: int) -> None:
    from reverie.device_runtime.preprocess import Preprocessing
    from reverie.export.exporter import export_bundle
    from reverie.export.pretrain import PretrainConfig
    from reverie.export.pretrained import load_networks, read_pretrained
    from reverie.export.pretraining import pretrain_arrays

    classes = tuple(str(c) for c in np.unique(history.labels))
    if not pretrained.exists():
        config = PretrainConfig(seed=seed)
        how = Preprocessing(28, 28, "grey")
        pretrain_arrays(history.inputs, history.labels, classes, how, pretrained, config, lambda *_: None)
    networks = load_networks(read_pretrained(pretrained), pretrained.name, slots - len(classes))
    export_bundle(networks, bundle, lambda _: None)


def _run(form: str, start: Models, steps: Protocol, dataset: str, protocol: str, seed: int) -> Run:
    config = UpdateConfig(seed=seed)
    run = Run(dataset, protocol, form, seed, [_scores(start, steps, 0)], [len(t.labels) for t in steps.tests], [], [])
    models = start
    for update in range(1, len(steps.updates) + 1):
        began = time.monotonic()
        monitor = Monitor()
        if form in {"literal", "default"}:
            frames = as_frames(steps.updates[update - 1])
            updated = run_update(models, frames, config.literal() if form == "literal" else config, monitor)
            models = updated.models
            run.coverage.append(updated.report.coverage)
        else:
            models = _baseline(form, models, steps, update, config, monitor)
        run.seconds.append(time.monotonic() - began)
        run.peak_bytes.append(max(record.peak_bytes for record in monitor.records.values()))
        run.matrix.append(_scores(models, steps, update))
    return run


def _baseline(
    form: str, models: Models, steps: Protocol, update: int, config: UpdateConfig, monitor: Monitor
) -> Models:
    """Fine-tune for as many steps as the default takes, on live images alone or with the historical ones."""
    frames = as_frames(steps.updates[update - 1])
    classes = extend_classes(models.classes, frames.classes, models.manifest.slots)
    live, _ = split(frames, classes, config.holdout, config.seed)
    grown = models.with_classes(classes)
    sources = [live_source(grown, live, "live", config.seed, 1.0)]
    if form == "joint":
        past = [steps.history, *steps.updates[: update - 1]]
        history = Live(np.concatenate([p.inputs for p in past]), np.concatenate([p.labels for p in past]))
        ratio = len(models.classes) / len(frames.classes)
        sources.append(live_source(grown, history, "history", config.seed, ratio))
    schedule = dataclasses.replace(config.fine_tune, steps=config.fine_tune.steps + config.retrain.fit.steps)
    with monitor.stage("fine-tune"):
        return grown.with_solver(fit(grown, list[Source](sources), grown.active, schedule, monitor))


def _scores(models: Models, steps: Protocol, update: int) -> list[float]:
    return [accuracy(models, test.inputs, test.labels) for test in steps.tests[: update + 1]]

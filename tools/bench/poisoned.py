"""`reverie bench poisoning`: poisoned frames on a box, promoted or refused and why, and how what serves then does.

Each case has a home of its own that goes the way of `reverie update --frames`; one that was interrupted goes on.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from reverie.device_runtime.bundle.preprocess import image_files
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.method.comparison import predict
from reverie.device_runtime.method.models import Models
from reverie.tools.bench import markdown
from reverie.tools.bench.poisoning import patched, poison
from reverie.tools.output_file import replace_output
from reverie.tools.own_process import own_command


@dataclass(frozen=True)
class Outcome:
    """What became of one case. Accuracies are means over labels, on test images, of what serves afterwards.

    `learnt` is of the labels that the frames were of; `attack` the share of patched test images that a backdoor turns
    into its label. `made` and `made_known` are of the update, whether it serves or not.
    """

    case: str
    seed: int
    outcome: str
    why: str
    known: float
    learnt: float
    made_known: float
    made_learnt: float
    attack: float
    seconds: float


@dataclass(frozen=True)
class Tested:
    """Test images as inputs, and with the patch, and the label of each."""

    inputs: np.ndarray
    patched: np.ndarray
    labels: np.ndarray

    def accuracy(self, models: Models, labels: list[str]) -> float:
        """Mean over `labels` of the share of their images that is right, those not known being wrong."""
        said = np.array([*models.classes])[predict(models, self.inputs)]
        return float(np.mean([(said[self.labels == label] == label).mean() for label in labels]))

    def attack(self, models: Models, target: str) -> float:
        """Share of patched images of other labels that are taken for `target`."""
        rows = self.labels != target
        return float((np.array([*models.classes])[predict(models, self.patched[rows])] == target).mean())


def run_case(bundle: Path, frames: Path, images: Path, work: Path, case: str, seed: int, console: Console) -> Outcome:
    """Poison, install, update, and test what then serves; `work` keeps the home, which may hold a part of it already.

    Raises ReverieError.
    """
    where = work / f"{case.replace(' ', '-').replace('%', 'percent')}-{seed}"
    home = where / "home"
    if not (where / "frames").exists():
        where.mkdir(parents=True, exist_ok=True)
        disk.write_whole(where / "frames", lambda folder: poison(frames, folder, case, seed))
    if not (home / "home.json").exists():
        installation.install(bundle, home)
    updates, _ = transaction.look(home)
    began, refusal = time.monotonic(), ""
    if not updates or updates[-1].outcome is None:
        console.print(f"{case}, seed {seed}: updating ...", highlight=False)
        options = () if updates else ("--frames", str(where / "frames"), "--seed", str(seed))
        done = subprocess.run(  # noqa: S603 (our own command)
            own_command("update", "--home", str(home), *options),
            check=False,
            capture_output=True,
            text=True,
        )
        refusal = done.stderr.strip().rpartition("reverie: ")[2].replace(f"{where}/", "")
        updates, _ = transaction.look(home)
    seconds = time.monotonic() - began
    ended = updates[-1] if updates else None
    serving = store.load_models(home, store.read_generation(home))
    first = store.load_models(home, store.read_generation(home, "0000"))
    made = serving
    if ended is not None and ended.generation in store.rejected(home):
        folder = ended.generation + store.REJECTED
        made = store.load_models(home, dataclasses.replace(store.read_generation(home, folder), name=folder))
    tested = _test_images(first, images)
    known = [label for label in np.unique(tested.labels) if label in first.classes]
    learnt = sorted(path.name for path in frames.iterdir() if path.is_dir())
    return Outcome(
        case=case,
        seed=seed,
        outcome=(ended.outcome or "in progress") if ended else "refused before it began",
        why=(ended.message or "") if ended else refusal,
        known=tested.accuracy(serving, known),
        learnt=tested.accuracy(serving, learnt),
        made_known=tested.accuracy(made, known),
        made_learnt=tested.accuracy(made, learnt),
        attack=tested.attack(serving, learnt[0]),
        seconds=seconds,
    )


def _test_images(models: Models, folder: Path) -> Tested:
    make = InputMaker(models.folder, models.manifest)
    files = [(file, path.name) for path in sorted(folder.iterdir()) if path.is_dir() for file in image_files(path)]
    marked = np.stack([make(patched(read_image(file))) for file, _ in files])
    return Tested(make.read([file for file, _ in files]), marked, np.array([label for _, label in files]))


def save_outcomes(outcomes: list[Outcome], path: Path) -> None:
    """Write `outcomes` as JSON."""
    replace_output(path, json.dumps([dataclasses.asdict(o) for o in outcomes], indent=1) + "\n")


def as_markdown(outcomes: list[Outcome]) -> str:
    """For a document."""
    heads = (
        "case",
        "seed",
        "outcome",
        "serves: known",
        "serves: learnt",
        "made: known",
        "made: learnt",
        "patched",
        "why",
    )
    rows = []
    for o in outcomes:
        shares = [f"{share:.1%}" for share in (o.known, o.learnt, o.made_known, o.made_learnt, o.attack)]
        rows.append((o.case, str(o.seed), o.outcome, *shares, o.why))
    return markdown.table(heads, rows)

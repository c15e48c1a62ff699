"""What a measurement of `reverie bench accuracy` begins with: a protocol, and networks pretrained on its first task."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.camera.inputs import CHUNK, InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.home import store
from reverie.device_runtime.method.labelled import label_files
from reverie.device_runtime.method.models import Models
from reverie.tools.bench.folder_protocols import FOLDER_PROTOCOLS, in_new_light
from reverie.tools.bench.protocols import PROTOCOLS, Protocol, Samples, read_idx, validation_split
from reverie.tools.options import GAN_STEPS

GENERATORS: Mapping[str, Mapping[str, str]] = {
    "reference": {},
    "linear": {"generator": "reverie.export.pretraining.networks:FeatureGenerator"},
    "transposed": {"generator": "reverie.tools.bench.generators:TransposedGenerator"},
    "unconditional": {
        "generator": "reverie.tools.bench.generators:UnconditionalGenerator",
        "discriminator": "reverie.tools.bench.generators:UnconditionalDiscriminator",
    },
}
"""Name → factories of the networks that generate, where they are not the reference ones."""
SOLVER_EPOCHS = 8
"""Of MNIST and Fashion-MNIST: a count, so that figures of other days are of the same networks."""
TESTED = 0.2
"""Share of a folder's images that is tested; with `--validation` as many of the others are held out instead."""

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Measured:
    """What all forms of one measurement begin with."""

    dataset: str
    protocol: str
    seed: int
    steps: Protocol
    start: Models
    pretrained: Path
    settings: str = ""
    """As in Run."""


class IdxImages(NamedTuple):
    """A data set in files of MNIST's format, and how what generates is pretrained on it."""

    data: Path
    dataset: str
    validation: bool
    generator: str
    gan_steps: int

    def name(self) -> str:
        """Of the data set in a Run."""
        generator = "" if self.generator == "reference" else f"{self.generator} generator"
        steps = "" if self.gan_steps == GAN_STEPS else f"{self.gan_steps} GAN steps"
        return _scored_on(self.dataset, self.validation, generator, steps)


class OwnImages(NamedTuple):
    """A folder of class-named folders, and how `reverie pretrain` takes it."""

    folder: Path
    validation: bool
    size: tuple[int, ...] | None
    solver: str | None
    solver_weights: Path | None
    backbone_until: str | None
    solver_epochs: int
    gan_steps: int
    stated: Mapping[str, Any]
    compare: tuple[str, Path] | None
    test_images: Path | None = None
    """A folder of the same classes that is tested in the place of a share of the images."""
    head: str = "statistics"
    """As `reverie pretrain` takes it."""
    shuffle_classes: bool = False
    """Whether classes come in an order drawn with the seed, and not in the alphabet's."""

    def name(self) -> str:
        """Of the data set in a Run."""
        return _scored_on(self.folder.resolve().name, self.validation)

    def digest(self) -> str:
        """Of the images and of all else; others begin with other networks and give other figures."""
        folders = [self.folder, *([] if self.test_images is None else [self.test_images])]
        files = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
        listed = [(path.as_posix(), path.stat().st_size) for path in files]
        return _digest((self._replace(folder=self.folder.resolve()), listed))


def _scored_on(dataset: str, validation: bool, *more: str) -> str:
    """So that figures on validation images, or of what was pretrained otherwise, are told apart."""
    return " ".join(filter(None, (dataset, "validation" if validation else "", *more)))


def apart(does: Callable[..., Result], *arguments: object) -> Result:
    """In a process of its own, so that torch is not in the memory that is measured here."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(does, *arguments).result()


def begin_with_files(files: IdxImages, protocol: str, cache: Path | None, seed: int, scratch: Path) -> Measured:
    """On files of MNIST's format. No test image reaches training or a choice of settings."""
    train = read_idx(files.data / files.dataset, "train")
    if files.validation:
        train, test = validation_split(train)
    else:
        test = read_idx(files.data / files.dataset, "t10k")
    steps = PROTOCOLS[protocol](train, test, seed)
    networks = {**GENERATORS[files.generator], **({"solver": steps.solver} if steps.solver else {})}
    beginning = _Beginning(cache or scratch, files.name(), steps.pretraining, seed)
    history = steps._replace(updates=[], tests=[])
    pretrained = apart(_pretrain_arrays, history, beginning, networks, files.gan_steps)
    return Measured(files.name(), protocol, seed, steps, _installed(pretrained, steps.slots, scratch), pretrained)


def begin_with_folder(own: OwnImages, protocol: str, cache: Path | None, seed: int, scratch: Path) -> Measured:
    """A protocol of FOLDER_PROTOCOLS on images of one's own.

    A share of each class's images is tested, unless there is a folder to test on. Raises FramesError, ExportError.
    """
    labelled = label_files(own.folder, 5)
    kind = FOLDER_PROTOCOLS[protocol]
    tasks = kind.tasks(len(labelled))
    if own.shuffle_classes:
        labelled = _in_drawn_order(labelled, len(tasks[0]), seed)
    names = tuple(label for label, _ in labelled)
    train, test = _learnt_and_tested(own, labelled, seed)
    _require_tested(own, tasks, names, test)
    history = scratch / "history"
    for slot in tasks[0]:
        (history / names[slot]).mkdir(parents=True)
        for number, file in enumerate(train[slot]):
            (history / names[slot] / f"{number:06d}{file.suffix}").symlink_to(file.resolve())
    settings = own.digest()
    beginning = _Beginning(cache or scratch, own.name(), kind.pretraining, seed)
    pretrained = apart(_pretrain_folder, own, history, beginning, settings)
    start = _installed(pretrained, len(names), scratch)
    make = InputMaker(start.folder, start.manifest)

    def samples(files: list[list[Path]], task: list[int], *, changed: bool = False) -> Samples:
        labels = np.repeat(task, [len(files[slot]) for slot in task])
        chosen = [file for slot in task for file in files[slot]]
        return Samples(read_in_new_light(make, chosen) if changed else make.read(chosen), labels)

    live = [files[: kind.live] for files in train]
    known, *coming = tasks
    steps = Protocol(
        samples(train, known),
        [samples(live, task, changed=kind.in_new_light) for task in coming],
        [samples(test, known), *(samples(test, task, changed=kind.in_new_light) for task in coming)],
        len(names),
        names=names,
    )
    return Measured(own.name(), protocol, seed, steps, start, pretrained, settings)


def _in_drawn_order(labelled: list[tuple[str, list[str]]], known: int, seed: int) -> list[tuple[str, list[str]]]:
    """The classes in an order drawn with the seed; the `known` ones, which come first, in the alphabet's."""
    order = np.random.default_rng([seed, len(labelled)]).permutation(len(labelled)).tolist()
    return [labelled[at] for at in (*sorted(order[:known]), *order[known:])]


def _learnt_and_tested(
    own: OwnImages, labelled: list[tuple[str, list[str]]], seed: int
) -> tuple[list[list[Path]], list[list[Path]]]:
    """The files of each class that are learnt, and those that are tested. Raises FramesError."""
    given = dict(label_files(own.test_images, 1)) if own.test_images is not None else {}
    train: list[list[Path]] = []
    test: list[list[Path]] = []
    for slot, (label, files) in enumerate(labelled):
        shuffled = np.random.default_rng([seed, slot]).permutation(len(files))
        order = [own.folder / label / files[at] for at in shuffled]
        tested = max(1, round(TESTED * len(order)))
        if own.test_images is None and own.validation:
            order = order[tested:]
        if own.test_images is None or own.validation:
            test.append(order[:tested])
            train.append(order[tested:])
            continue
        test.append([own.test_images / label / file for file in given.get(label, ())])
        train.append(order)
    return train, test


def _require_tested(own: OwnImages, tasks: list[list[int]], names: tuple[str, ...], test: list[list[Path]]) -> None:
    """A class may be learnt and not tested. Raises FramesError where none of a whole task is tested."""
    for task in tasks:
        if not any(test[slot] for slot in task):
            raise FramesError(
                f"{own.test_images} has no images of {', '.join(names[slot] for slot in task)}: it must have those of "
                "some of the classes that are learnt together"
            )


def read_in_new_light(make: InputMaker, files: list[Path]) -> np.ndarray:
    """As `InputMaker.read`, of images in new light."""
    parts = []
    for at in range(0, len(files), CHUNK):
        changed = [make.prepared(in_new_light(read_image(file)), file) for file in files[at : at + CHUNK]]
        parts.append(make.of_prepared(changed))
    return np.concatenate(parts)


class _Beginning(NamedTuple):
    """Which pretrained models are wanted, and the folder in which those are kept."""

    cache: Path
    about: str
    pretraining: str
    seed: int

    def place(self, *settings: object) -> Path:
        """Where the models are kept. Other `settings` have another place, so that none are taken for others."""
        return self.cache / f"{self.about.replace(' ', '-')}-{self.pretraining}-{self.seed}-{_digest(settings)}"


def _digest(settings: object) -> str:
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:8]


def _installed(pretrained: Path, slots: int, scratch: Path) -> Models:
    apart(_export, pretrained, scratch / "bundle", slots)
    return store.load_models(scratch / "home", installation.install(scratch / "bundle", scratch / "home"))


def _export(pretrained: Path, bundle: Path, slots: int) -> None:
    from reverie.export.exporter import export_bundle
    from reverie.export.pretraining.pretrained import load_networks, read_pretrained

    described = read_pretrained(pretrained)
    networks = load_networks(described, pretrained.name, slots - len(described.classes))
    export_bundle(networks, bundle, lambda _: None)


def _pretrain_arrays(steps: Protocol, beginning: _Beginning, networks: Mapping[str, str], gan_steps: int) -> Path:
    """Pretrain `networks` on the history of `steps`, unless that is done. Returns the folder."""
    from reverie.device_runtime.bundle.preprocess import Preprocessing
    from reverie.export.pretraining.pipeline import pretrain_arrays
    from reverie.export.pretraining.training import PretrainConfig

    inputs, labels = steps.history
    classes = tuple(str(c) for c in np.unique(labels))
    config = PretrainConfig(seed=beginning.seed, solver_epochs=SOLVER_EPOCHS, gan_steps=gan_steps)
    if steps.solver_steps is not None:
        batches = len(labels) / config.solver_batch
        config = dataclasses.replace(config, solver_epochs=math.ceil(steps.solver_steps / batches))
    how = Preprocessing(28, 28, "grey")
    pretrained = beginning.place(sorted(networks.items()), config)
    if not pretrained.exists():
        pretrain_arrays(inputs, labels, classes, how, pretrained, config, lambda *_: None, networks)
    return pretrained


def _pretrain_folder(own: OwnImages, history: Path, beginning: _Beginning, settings: str) -> Path:
    """Pretrain on the folder `history`, unless that is done. Returns the folder."""
    from reverie.export.pretraining.pipeline import pretrain_folder
    from reverie.export.pretraining.training import PretrainConfig

    config = PretrainConfig(seed=beginning.seed, solver_epochs=own.solver_epochs, gan_steps=own.gan_steps)
    pretrained = beginning.place(settings, config)
    if not pretrained.exists():
        pretrain_folder(
            history,
            pretrained,
            config,
            lambda *_: None,
            size=own.size,
            solver=own.solver,
            solver_weights=own.solver_weights,
            stated=own.stated,
            compare=own.compare,
            backbone_until=own.backbone_until,
            head=own.head,
        )
    return pretrained

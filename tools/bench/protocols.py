"""The accuracy protocols: what is pretrained, what is learnt in each update, and what is tested."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.method.labelled import Frames

MLP = "reverie.tools.bench.mlp:Mlp"
SPLIT_STEPS = 2000


class Samples(NamedTuple):
    """Inputs (N, *S) float32, images of MNIST's size in [-1, 1] or features, and labels (N,)."""

    inputs: np.ndarray
    labels: np.ndarray

    def of(self, classes: list[int]) -> Samples:
        """The samples of `classes`."""
        return self.take(np.flatnonzero(np.isin(self.labels, classes)))

    def take(self, rows: np.ndarray) -> Samples:
        """The samples in `rows`."""
        return Samples(self.inputs[rows], self.labels[rows])


class Protocol(NamedTuple):
    """A sequence of tasks. `tests[0]` belongs to the pretraining, `tests[i]` to update i."""

    history: Samples
    updates: list[Samples]
    tests: list[Samples]
    slots: int
    solver: str | None = None
    """Factory of the solver; None takes the reference network."""
    solver_steps: int | None = None
    """Steps of its pretraining; None takes the pretraining's own epochs."""
    pretraining: str = ""
    """Protocols that agree in this, and in data set and seed, begin with the same networks."""
    names: tuple[str, ...] = ()
    """Of the classes; empty where they are digits."""
    mean_of_tasks: bool = False
    """Whether every task counts the same in the accuracy of all, and not every test image."""

    def weights(self) -> list[float]:
        """Of each task in the accuracy of all."""
        return [1.0 if self.mean_of_tasks else float(len(test.labels)) for test in self.tests]


def read_idx(folder: Path, part: str) -> Samples:
    """MNIST-style files `<part>-images-idx3-ubyte` and `-labels-idx1-ubyte`, plain or .gz. Raises FramesError."""

    def raw(name: str, header: int) -> np.ndarray:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                try:
                    content = path.read_bytes()
                    content = gzip.decompress(content) if path.suffix == ".gz" else content
                    return np.frombuffer(content, np.uint8, offset=header)
                except (EOFError, ValueError, zlib.error, gzip.BadGzipFile):
                    raise FramesError(f"{path} is cut short or damaged: copy it again") from None
        raise FramesError(f"{folder} has no {name} (or .gz): point --data at a folder that holds {folder.name}/")

    images = raw(f"{part}-images-idx3-ubyte", 16)
    labels = raw(f"{part}-labels-idx1-ubyte", 8).astype(np.int64)
    if images.size != 28 * 28 * len(labels):
        raise FramesError(
            f"{folder} has {len(labels)} labels for {images.size / 784:g} images of {part}: copy it again"
        )
    images = images.reshape(-1, 1, 28, 28)
    return Samples(images.astype(np.float32) / np.float32(127.5) - 1, labels)


def product(train: Samples, test: Samples, seed: int, live: int = 1000) -> Protocol:
    """Pretrain on classes 0-5, learn 6-7, then 8-9, with `live` images in all for each update."""
    rng = np.random.default_rng(seed)
    tasks = product_tasks(10)
    updates = [_draw(train.of(task), live, rng) for task in tasks[1:]]
    return Protocol(train.of(tasks[0]), updates, [test.of(task) for task in tasks], 10, pretraining="product")


def product_tasks(classes: int) -> list[list[int]]:
    """Three fifths of the classes are pretrained, at least two, and the rest comes in two updates, half in each.

    Raises FramesError where there are too few.
    """
    if classes < 4:
        raise FramesError(f"{classes} classes are too few: two to pretrain and one for each of two updates are needed")
    known = max(2, round(0.6 * classes))
    first = known + (classes - known + 1) // 2
    return [list(range(known)), list(range(known, first)), list(range(first, classes))]


def shift(train: Samples, test: Samples, seed: int, live: int = 1000) -> Protocol:
    """All ten classes known; live images are the same classes inverted, turned by 30 degrees and blurred."""
    rng = np.random.default_rng(seed)
    update = _draw(train, live, rng)
    return Protocol(train, [shifted(update)], [test, shifted(test)], 10, pretraining="shift")


def split_class(train: Samples, test: Samples, seed: int) -> Protocol:
    """Two new classes with each of five tasks, all their images live: class-incremental split MNIST.

    van de Ven, Tuytelaars & Tolias, "Three types of incremental learning", Nature Machine Intelligence, 2022.
    """
    del seed  # all images are taken
    tasks = [[first, first + 1] for first in range(0, 10, 2)]
    history, *updates = (train.of(task) for task in tasks)
    return Protocol(
        history, updates, [test.of(task) for task in tasks], 10, MLP, SPLIT_STEPS, "split", mean_of_tasks=True
    )


def split_domain(train: Samples, test: Samples, seed: int) -> Protocol:
    """The same tasks with the label that tells the first class of each from the second: domain-incremental."""

    def parity(samples: Samples) -> Samples:
        return Samples(samples.inputs, samples.labels % 2)

    classes = split_class(train, test, seed)
    return classes._replace(
        history=parity(classes.history),
        updates=[parity(update) for update in classes.updates],
        tests=[parity(part) for part in classes.tests],
        slots=2,
    )


def one_by_one(train: Samples, test: Samples, seed: int, live: int = 500) -> Protocol:
    """A long chain: two classes are pretrained, then each other one comes alone with `live` images."""
    rng = np.random.default_rng(seed)
    updates = [_draw(train.of([new]), live, rng) for new in range(2, 10)]
    tests = [test.of([0, 1]), *(test.of([new]) for new in range(2, 10))]
    return Protocol(train.of([0, 1]), updates, tests, 10, pretraining="pair")


def validation_split(train: Samples, share: float = 0.1) -> tuple[Samples, Samples]:
    """Training images without a fixed random `share`, and that share, to choose settings by."""
    order = np.random.default_rng(0).permutation(len(train.labels))
    held_out = round(share * len(order))
    return train.take(np.sort(order[held_out:])), train.take(np.sort(order[:held_out]))


PROTOCOLS: dict[str, Callable[[Samples, Samples, int], Protocol]] = {
    "product": product,
    "shift": shift,
    "split-class": split_class,
    "split-domain": split_domain,
    "one-by-one": one_by_one,
}


def shifted(samples: Samples) -> Samples:
    """Inverted, turned by 30 degrees about the centre (the corners keep the background) and blurred (sigma 1)."""
    turn = cv2.getRotationMatrix2D((13.5, 13.5), 30, 1.0)
    images = np.empty_like(samples.inputs)
    for at, (image,) in enumerate(samples.inputs):
        turned = cv2.warpAffine(-image, turn, (28, 28), borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
        images[at, 0] = cv2.GaussianBlur(turned, (0, 0), 1.0)
    return Samples(images, samples.labels)


def as_frames(samples: Samples, names: tuple[str, ...] = ()) -> Frames:
    """Live frames whose labels are named by `names`, or by their digit."""
    classes = np.unique(samples.labels)
    labels = tuple(names[c] if names else str(c) for c in classes)
    return Frames(samples.inputs, np.searchsorted(classes, samples.labels), labels)


def _draw(samples: Samples, count: int, rng: np.random.Generator) -> Samples:
    """`count` samples, the same number of each class."""
    classes = np.unique(samples.labels)
    rows = [rng.choice(np.flatnonzero(samples.labels == c), size=count // len(classes), replace=False) for c in classes]
    return samples.take(np.concatenate(rows))

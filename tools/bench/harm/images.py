"""The images of `reverie bench harm`: which may be shown in updates, and which are tested, never both."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from reverie.device_runtime.bundle.sources import accept, open_source
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.engine.installed import installed_engine
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.method.labelled import label_files
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.randomness import rng_for
from reverie.tools.bench.accuracy_start import TESTED
from reverie.tools.bench.harm.kinds import Material

MOST_SHOWN = 100
"""Images of a class that updates draw from: all of them are in memory."""
LEAST = 5


class Files(NamedTuple):
    """The image files of each class that updates are shown, and those that are tested."""

    shown: dict[str, list[Path]]
    tested: dict[str, list[Path]]

    def material(self, models: Models) -> Material:
        """What may be shown: of known classes, and of as many others as there are spare class slots.

        Raises FramesError where nothing is of a known class.
        """
        known, new = known_and_new(self.shown, models)
        if not known:
            raise FramesError(f"no images are of classes that the bundle knows: {', '.join(models.classes)}")
        images = {label: [read_image(file) for file in self.shown[label]] for label in (*known, *new)}
        return Material(images, known, new)


def known_and_new(labels: Collection[str], models: Models) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of `labels` that `models` know, and as many of the others as there are spare class slots."""
    known = tuple(label for label in models.classes if label in labels)
    others = tuple(label for label in labels if label not in known)
    return known, others[: models.manifest.slots - len(models.classes)]


def find_files(folder: Path, test_images: Path | None) -> Files:
    """A fifth of the images in `folder/LABEL/` is tested, or all of those in `test_images`; no seed changes which.

    Raises FramesError.
    """
    files = Files({}, {})
    for label, names in label_files(folder, LEAST):
        order = rng_for(0, f"harm: {label}").permutation(len(names))
        drawn = [folder / label / names[at] for at in order]
        tested = max(1, round(TESTED * len(drawn))) if test_images is None else 0
        files.tested[label] = drawn[:tested]
        files.shown[label] = drawn[tested : tested + MOST_SHOWN]
    if test_images is None:
        return files
    if test_images.resolve() == folder.resolve():
        raise FramesError(f"{folder} would be shown and tested: give other images to test, or leave them out")
    given = label_files(test_images, 1)
    return files._replace(tested={label: [test_images / label / name for name in names] for label, names in given})


def digest(bundle: Path, files: Files) -> str:
    """Of the bundle, and of all images by name and size. Raises BundleError."""
    with open_source(bundle) as source:
        identity = accept(source, None, installed_engine().operators).identity
    paths = [path for part in files for some in part.values() for path in some]
    listed = [(path.as_posix(), path.stat().st_size) for path in paths]
    return hashlib.sha256(repr((identity, listed)).encode()).hexdigest()[:8]

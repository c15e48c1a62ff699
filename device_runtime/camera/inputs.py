"""Images → inputs of shape S, the one place that makes them: preprocessing, then the backbone where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from reverie.device_runtime.bundle.contents import read_verified
from reverie.device_runtime.bundle.manifest import BACKBONE, Manifest
from reverie.device_runtime.bundle.preprocess import image_to_input
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.engine.graph import Graph

CHUNK = 8
"""Images that go through the backbone at a time, so that memory stays bounded."""


class InputMaker:
    """Makes inputs as the solver of one bundle takes them; holds the backbone's session."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """For the bundle in `folder`, whose backbone is verified. Raises BundleError, EngineError."""
        self._how = manifest.preprocessing
        self._shape = manifest.input_shape
        self._backbone: Graph | None = None
        if manifest.backbone is not None:
            self._backbone = Graph(read_verified(folder, BACKBONE, manifest.files[BACKBONE]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (*S) of an input."""
        return self._shape

    def __call__(self, image: np.ndarray, where: object = "the image") -> np.ndarray:
        """Input (*S) of one uint8 image (H, W) or (H, W, 3 in BGR order). Raises FramesError."""
        return np.asarray(self._of(image_to_input(image, self._how, where)[None])[0])

    def prepared(self, image: np.ndarray, where: object) -> np.ndarray:
        """What goes into `of_prepared`, of one uint8 image. Raises FramesError."""
        return image_to_input(image, self._how, where)

    def of_prepared(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Inputs (N, *S) of prepared images; at most CHUNK of them at a time bound the memory."""
        return self._of(np.stack(images))

    def read(self, files: Sequence[Path], done: Callable[[int, int], None] = lambda _at, _of: None) -> np.ndarray:
        """Inputs (N, *S) of image files, each computed once; `done` hears how many of how many. Raises FramesError."""
        parts = []
        for at in range(0, len(files), CHUNK):
            chunk = files[at : at + CHUNK]
            parts.append(self._of(np.stack([image_to_input(read_image(file), self._how, file) for file in chunk])))
            done(at + len(chunk), len(files))
        return np.concatenate(parts)

    def _of(self, images: np.ndarray) -> np.ndarray:
        return images if self._backbone is None else self._backbone.run({"image": images})["features"]

"""The solver in service."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from reverie.device_runtime import store
from reverie.device_runtime.bundle import read_manifest, read_verified
from reverie.device_runtime.engine import Graph
from reverie.device_runtime.inputs import InputMaker


class Prediction(NamedTuple):
    """Most likely label, its probability, and the probability of every class in use."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Predictor:
    """Classifies images with the generation that is in service when it is made."""

    def __init__(self, home: Path) -> None:
        """Loads and verifies the solver, and the backbone where there is one. Raises HomeError, BundleError."""
        self.generation = store.read_generation(home)
        bundle = home / "bundles" / self.generation.bundle
        self._make_input = InputMaker(bundle, read_manifest(bundle, self.generation.bundle))
        folder = home / "generations" / self.generation.name
        self._graph = Graph(read_verified(folder, "solver.onnx", self.generation.files["solver.onnx"]))

    def predict(self, image: np.ndarray, where: object = "the image") -> Prediction:
        """Classify one uint8 image (H, W) or (H, W, 3 in BGR order). Raises FramesError."""
        probabilities = self._graph.run({"input": self._make_input(image, where)[None]})["probabilities"][0]
        by_label = {label: float(p) for label, p in zip(self.generation.classes, probabilities, strict=False)}
        best = max(by_label, key=lambda label: by_label[label])
        return Prediction(best, by_label[best], by_label)

"""The solver in service."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from reverie.device_runtime import rollback, store
from reverie.device_runtime.bundle import read_manifest, read_verified
from reverie.device_runtime.engine import Graph
from reverie.device_runtime.errors import BundleError, EngineError, HomeError, first_line
from reverie.device_runtime.home import open_home
from reverie.device_runtime.inputs import InputMaker
from reverie.device_runtime.probation import Probation


class Prediction(NamedTuple):
    """Most likely label, its probability, and the probability of every class in use."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Predictor:
    """Classifies images with the generation that is in service when it is made, or with its parent once that fails.

    A generation that fails to load or to predict too often, whoever predicts, is rolled back from.
    """

    def __init__(self, home: Path) -> None:
        """Loads and verifies the solver, and the backbone where there is one.

        Raises HomeError, BundleError, EngineError.
        """
        self._home = open_home(home)
        self._name = store.current(home)
        self._probation = Probation(home, self._name)
        try:
            self._load()
        except (HomeError, BundleError, EngineError) as error:
            if not self._left(error):
                raise
            self._load()

    def _load(self) -> None:
        home = self._home
        self.generation = store.read_generation(home, self._name)
        bundle = home / "bundles" / self.generation.bundle
        self._make_input = InputMaker(bundle, read_manifest(bundle, self.generation.bundle))
        folder = home / "generations" / self.generation.name
        self._graph = Graph(read_verified(folder, "solver.onnx", self.generation.files["solver.onnx"]))

    def predict(self, image: np.ndarray, where: object = "the image") -> Prediction:
        """Classify one uint8 image (H, W) or (H, W, 3 in BGR order). Raises FramesError, EngineError."""
        input_ = self._make_input(image, where)
        try:
            probabilities = self._probabilities(input_)
        except EngineError as error:
            if not self._left(error):
                raise
            self._load()
            probabilities = self._probabilities(input_)
        if self._probation.passed():
            rollback.confirm(self._home)
        by_label = {label: float(p) for label, p in zip(self.generation.classes, probabilities, strict=False)}
        best = max(by_label, key=lambda label: by_label[label])
        return Prediction(best, by_label[best], by_label)

    def _probabilities(self, input_: np.ndarray) -> np.ndarray:
        try:
            probabilities = self._graph.run({"input": input_[None]})["probabilities"][0]
        except Exception as error:  # whatever the engine raises
            raise EngineError(
                f"generation {self.generation.name} cannot predict ({first_line(error)}): "
                f"go back with reverie rollback --home {self._home}"
            ) from error
        if not np.isfinite(probabilities).all():
            raise EngineError(
                f"generation {self.generation.name} predicts what is no number: "
                f"go back with reverie rollback --home {self._home}"
            )
        return np.asarray(probabilities)

    def _left(self, error: Exception) -> bool:
        """Count a failure; whether the generation was left for another, by this process or by any."""
        if self._probation.failed():
            rollback.roll_back_failing(self._home, first_line(error))
        serving = store.current(self._home)
        if serving == self._name:
            return False
        self._name, self._probation = serving, Probation(self._home, serving)
        return True

"""The solver in service."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.contents import read_manifest, read_verified
from reverie.device_runtime.bundle.manifest import STATISTICS, KnownScore
from reverie.device_runtime.bundle.statistics import read_statistics
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.errors import BundleError, EngineError, HomeError, first_line
from reverie.device_runtime.home import store
from reverie.device_runtime.home.layout import open_home
from reverie.device_runtime.home.store import Generation
from reverie.device_runtime.method.novelty import Novelty, novelty_of
from reverie.device_runtime.serving import rollback
from reverie.device_runtime.serving.probation import Probation


class Prediction(NamedTuple):
    """Most likely label, its probability, and the probability of every class in use."""

    label: str
    probability: float
    probabilities: dict[str, float]
    known: float | None = None
    """How likely it is of any class that is known, in [0, 1]; None where the bundle does not tell."""
    strange: bool = False
    """Whether that is below what nearly all images of known classes have: then the label is probably wrong."""

    def likeliest(self, most: int) -> list[tuple[str, float]]:
        """At most so many labels with their probabilities, the likeliest first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:most]

    @property
    def margin(self) -> float:
        """By how much the most likely label leads the next: in [0, 1], 1 where there is but one."""
        (_, best), *others = self.likeliest(2)
        return best - others[0][1] if others else 1.0


class Loaded(NamedTuple):
    """A generation, ready to predict."""

    generation: Generation
    slots: int
    """Class slots of its bundle, in use and spare."""
    make_input: InputMaker
    graph: Graph
    novelty: Novelty | None
    score: KnownScore | None
    """How `novelty` tells whether an input is of a known class, where it does."""

    def known(self, input_: np.ndarray) -> tuple[float | None, bool]:
        """As in Prediction, of one input (*S)."""
        if self.novelty is None or self.score is None:
            return None, False
        known = float(self.novelty.known(input_[None], self.score)[0])
        return known, known < self.score.threshold


class Predictor:
    """Classifies images with the generation that is in service when it is made, or with its parent once that fails.

    `take_up` follows the pointer from then on. A generation that fails to load or to predict too often, whoever
    predicts, is rolled back from.
    """

    def __init__(self, home: Path) -> None:
        """Loads and verifies the solver, and the backbone where there is one.

        Raises HomeError, BundleError, EngineError.
        """
        self._home = open_home(home)
        self._name = store.current(home)
        self._probation = Probation(home, self._name)
        self._loader = ThreadPoolExecutor(1, "take up")
        self._loading: tuple[str, Future[Loaded]] | None = None
        try:
            self._loaded = _load(home, self._name)
        except (HomeError, BundleError, EngineError) as error:
            if not self._left(error):
                raise
            self._loaded = _load(home, self._name)

    @property
    def generation(self) -> Generation:
        """The one that predicts."""
        return self._loaded.generation

    @property
    def slots(self) -> int:
        """Class slots that it has, in use and spare."""
        return self._loaded.slots

    def take_up(self) -> bool:
        """Take up a generation that was put into service since; whether that was done now.

        It is loaded in the background while the one before predicts on, so this is to be called before each
        frame of a live source, and costs next to nothing. One that cannot be loaded counts as failing.

        Raises HomeError.
        """
        if self._loading is None:
            serving = store.current(self._home)
            if serving != self._name:
                self._loading = serving, self._loader.submit(_load, self._home, serving)
            return False
        name, loading = self._loading
        if not loading.done():
            return False
        self._loading = None
        if name != store.current(self._home):  # it was left meanwhile, and so was any fault of it
            return False
        try:
            loaded = loading.result()
        except (HomeError, BundleError, EngineError) as error:
            _count_failure(self._home, Probation(self._home, name), error)
            return False
        self._loaded, self._name = loaded, name
        self._probation = Probation(self._home, self._name)
        return True

    def predict(self, image: np.ndarray, where: object = "the image") -> Prediction:
        """Classify one uint8 image (H, W) or (H, W, 3 in BGR order). Raises FramesError, EngineError."""
        input_ = self._loaded.make_input(image, where)
        try:
            probabilities = self._probabilities(input_)
        except EngineError as error:
            if not self._left(error):
                raise
            self._loaded = _load(self._home, self._name)
            input_ = self._loaded.make_input(image, where)
            probabilities = self._probabilities(input_)
        if self._probation.passed():
            rollback.confirm(self._home)
        by_label = {label: float(p) for label, p in zip(self.generation.classes, probabilities, strict=False)}
        best = max(by_label, key=lambda label: by_label[label])
        return Prediction(best, by_label[best], by_label, *self._loaded.known(input_))

    def _probabilities(self, input_: np.ndarray) -> np.ndarray:
        try:
            probabilities = self._loaded.graph.run({"input": input_[None]})["probabilities"][0]
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
        _count_failure(self._home, self._probation, error)
        serving = store.current(self._home)
        if serving == self._name:
            return False
        self._name, self._probation = serving, Probation(self._home, serving)
        return True


def _count_failure(home: Path, probation: Probation, error: Exception) -> None:
    """Count it against the generation that `probation` watches, which is left once it failed too often."""
    if probation.failed():
        rollback.roll_back_failing(home, first_line(error))


def _load(home: Path, name: str) -> Loaded:
    """Generation `name`, verified. Raises HomeError, BundleError, EngineError."""
    generation = store.read_generation(home, name)
    bundle = home / "bundles" / generation.bundle
    solver = read_verified(home / "generations" / name, "solver.onnx", generation.files["solver.onnx"])
    manifest = read_manifest(bundle, generation.bundle)
    novelty, score = None, manifest.statistics.known if manifest.statistics else None
    if manifest.statistics is not None and score is not None:
        folder = home / "generations" / name
        content = read_verified(folder, STATISTICS, generation.files[STATISTICS])
        kept = read_statistics(content, manifest.slots, manifest.noise_size, folder / STATISTICS)
        novelty = novelty_of(kept, manifest.statistics)
    return Loaded(generation, manifest.slots, InputMaker(bundle, manifest), Graph(solver), novelty, score)

"""The manifest of a bundle: the contract between the two halves.

A bundle is a folder with a `manifest.json` that names every other file with its SHA-256 and size. Models whose
weights change on the device (solver, generator, discriminator) are plain ONNX files; the manifest says at which
byte each weight lies, so that a box without the onnx package can read them and write new ones in place.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeVar

import numpy as np

from reverie.device_runtime.bundle.gaussians import Gaussians
from reverie.device_runtime.bundle.hidden import Hidden
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.bundle.rehearsal import Rehearsal

FORMAT = 2
"""Of a new bundle: its training graphs give gradients as outputs."""
READABLE = (1, FORMAT)
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
BACKBONE = "backbone.onnx"
CANARY = "canary.npz"
STATISTICS = "statistics.npz"
"""Of the classes at the input of the solver, in the place of what generates, or at that of its last layer, beside it:
see `statistics.py`."""
GAUSSIANS = "gaussians.npz"
"""Of the classes at the input of the solver, in the place of what generates, see `gaussians.py`."""
MODELS = ("solver", "generator", "discriminator")
SEARCHES = ("synthesis_image", "synthesis_noise")
SAMPLING = "sampling"
BETAS = {"solver": (0.9, 0.999), "generator": (0.5, 0.99), "discriminator": (0.5, 0.99)}
"""AdamW's, by network."""
TRAINING_GRAPH = "training_model.onnx"
"""In a folder for each network. Beside it, bundles of format 1 have what onnxruntime's own API for training reads."""
OF_THE_SOLVER = ("solver.onnx", f"solver_train/{TRAINING_GRAPH}", "synthesis_image.onnx")
OF_THE_GENERATOR = (
    *(f"{model}.onnx" for model in MODELS[1:]),
    *(f"{model}_train/{TRAINING_GRAPH}" for model in MODELS[1:]),
    "synthesis_noise.onnx",
)

NAMED_BY_NONE = frozenset((MANIFEST, SIGNATURE))
MAX_FILES = 64
MAX_MANIFEST = 16 << 20
MAX_NUMBERS = 1 << 24
"""Numbers in an input, in its noise or in its logits."""
MOST_FEATURES = 2048
"""Of which class statistics are kept: their scatter takes 2·D² bytes in its file, and 8·D² in memory."""
MAX_TOTAL = 1 << 30
"""Bytes of all files of a bundle; one of them may have onnx_check.MAX_BYTES."""

GRADIENT = "_grad"
"""After the name of an input of a graph, the output that holds the gradient of the loss for it."""

BATCH = "batch."
"""Before the name of a running statistic, the output of solver_train that holds the batch's own."""

Weights = dict[str, np.ndarray]
"""Parameter name → float32 array."""

T = TypeVar("T")


@dataclass(frozen=True)
class FileRecord:
    """Fingerprint of one file: SHA-256 in hex and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class TensorRecord:
    """Where a float32, little-endian tensor lies in its model file: first byte and shape."""

    offset: int
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Bytes that it takes."""
        return 4 * math.prod(self.shape)


@dataclass(frozen=True)
class Backbone:
    """The frozen front of the provider's model, which turns images into features: `backbone.onnx`.

    It ends with what enters the module `until`. `mean` and `variance` are those of each channel of its features over
    the historical images; both are empty where there were none. The graph's last step takes the mean off and divides
    by `scale`, so that inputs have mean 0 and, over all channels, variance 1, whatever the model makes. One scale for
    all channels, because a channel that no known class uses varies little, and a new class may be all in it.

    Before that, with a `power` other than 1, each feature f becomes sign(f)·|f|^power (Perronnin, Sánchez & Mensink,
    "Improving the Fisher kernel for large-scale image classification", ECCV 2010).
    """

    until: str
    mean: tuple[float, ...] = ()
    variance: tuple[float, ...] = ()
    power: float = 1.0

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Backbone:
        """What `dataclasses.asdict` made, read from JSON. Raises KeyError, TypeError or ValueError."""
        mean, variance = (tuple(float(n) for n in values[name]) for name in ("mean", "variance"))
        if not isinstance(values["until"], str) or len(mean) != len(variance):
            raise TypeError("the backbone is not stated by its end and the statistics of its features")
        if not all(math.isfinite(n) for n in mean + variance) or min(variance, default=0) < 0:
            raise ValueError("the statistics of the features are no numbers")
        return cls(values["until"], mean, variance, float(values.get("power", 1.0)))

    @property
    def scale(self) -> float:
        """What the backbone divides all features by."""
        average = sum(self.variance) / max(len(self.variance), 1)
        return math.sqrt(average) if average > 0 else 1.0


KNOWN_TERMS = 5
"""Figures by which `novelty.py` tells whether an input is of a class that is known."""


@dataclass(frozen=True)
class KnownScore:
    """How the figures of `novelty.py` tell whether an input is of a class that is known."""

    weights: tuple[float, ...]
    bias: float
    threshold: float
    """Below it an input is taken for one of no known class; a twentieth of those of known classes is, wrongly."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> KnownScore:
        """What `dataclasses.asdict` made, read from JSON. Raises KeyError, TypeError or ValueError."""
        weights = tuple(float(n) for n in values["weights"])
        found = cls(weights, float(values["bias"]), float(values["threshold"]))
        if len(weights) != KNOWN_TERMS or not all(math.isfinite(n) for n in (*weights, found.bias, found.threshold)):
            raise ValueError(
                f"what tells whether a class is known is not {KNOWN_TERMS} weights, a bias and a threshold"
            )
        return found


@dataclass(frozen=True)
class Statistics:
    """How a solver that is one linear layer behind a backbone follows from the statistics of its classes.

    They take the place of generator and discriminator.
    """

    epsilon: float
    """By which the covariance of the classes is shrunk, see `closed_form.covariance`."""
    temperature: float = 1.0
    """By which the logits are divided, so that its probabilities are those of being right (Guo et al.,
    "On calibration of modern neural networks", ICML 2017)."""
    known: KnownScore | None = None
    """None: there were too few classes to learn it from."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Statistics:
        """What `dataclasses.asdict` made, read from JSON. Raises KeyError, TypeError or ValueError."""
        epsilon, temperature = values["epsilon"], values["temperature"]
        if not isinstance(epsilon, float) or not isinstance(temperature, float):
            raise TypeError("the statistics are not stated by a shrinkage and a temperature")
        if not 0 < epsilon <= 1 or not 0 < temperature < math.inf:
            raise ValueError(f"{epsilon} is no shrinkage, or {temperature} no temperature")
        return cls(epsilon, temperature, KnownScore.from_json(values["known"]) if values.get("known") else None)


@dataclass(frozen=True)
class Manifest:
    """All that a device must know about a bundle besides the graphs themselves.

    A home takes only bundles of one `family`, and without being asked none that was `created` before what it has.
    """

    name: str
    created: str
    classes: tuple[str, ...]
    slots: int
    input_shape: tuple[int, ...]
    noise_size: int
    conditional: bool
    preprocessing: Preprocessing
    files: dict[str, FileRecord]
    tensors: dict[str, dict[str, TensorRecord]]
    backbone: Backbone | None = None
    """None: inputs are the preprocessed images themselves."""
    statistics: Statistics | None = None
    """None: a solver that is trained, with what rehearses the classes."""
    hidden: Hidden | None = None
    """None: no statistics of the classes stand beside the generator."""
    gaussians: Gaussians | None = None
    """None: no Gaussians of the classes take the place of generator and discriminator."""
    rehearsal: Rehearsal | None = None
    """None: none was played, and the cautious defaults stand."""
    training: dict[str, Any] = field(default_factory=dict)
    """What trains of the solver: rule, parameters, of how many, and the share of its compute.

    With batch normalization in training mode also `statistics`: the names of the running statistics, each with its
    momentum. `chunks`: rows of a batch that are computed at a time: in training, by network; in each
    search; in sampling. What is not named there has its batches whole.
    """
    parity: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    family: str = ""
    """Models that can take each other's place; the name of the bundle unless stated."""
    format: int = FORMAT
    unknown: dict[str, Any] = field(default_factory=dict)
    """Fields of a newer writer, kept so that they survive a rewrite."""

    @property
    def models(self) -> tuple[str, ...]:
        """Those of MODELS that the bundle has."""
        return MODELS if self.has_generator else MODELS[:1]

    @property
    def has_generator(self) -> bool:
        """Whether generator and discriminator rehearse the classes, and neither statistics nor Gaussians of them."""
        return self.statistics is None and self.gaussians is None

    @property
    def changing(self) -> tuple[str, ...]:
        """The files that an update writes anew for a generation."""
        kept = ((STATISTICS,) if self.kept_features else ()) + ((GAUSSIANS,) if self.gaussians else ())
        return tuple(f"{model}.onnx" for model in self.models) + kept

    @property
    def kept_features(self) -> int:
        """How many features have class statistics; 0 where there are none."""
        if self.statistics is not None:
            return self.noise_size
        return 0 if self.hidden is None else self.hidden.size

    @property
    def features(self) -> int:
        """Numbers of an input."""
        return math.prod(self.input_shape)

    @property
    def spread(self) -> np.ndarray:
        """How far inputs spread about 0, for a random start: standard deviation of each channel, or 1."""
        if self.backbone is None or not self.backbone.variance:
            return np.ones(1, np.float32)
        spread = np.sqrt(np.asarray(self.backbone.variance, np.float32)) / np.float32(self.backbone.scale)
        return np.asarray(spread.reshape(-1, *[1] * (len(self.input_shape) - 1)))

    @property
    def made(self) -> datetime:
        """When the bundle was created."""
        made = datetime.fromisoformat(self.created)
        return made if made.tzinfo else made.replace(tzinfo=timezone.utc)

    def injected(self, path: str) -> frozenset[str]:
        """Names of the tensors that the graph `path` gets from memory."""
        if not path.startswith("synthesis_"):
            return frozenset()
        solver = {name: None for name in self.tensors["solver"] if name != "active"}
        generator = dict.fromkeys(self.tensors.get("generator", ())) if path.startswith("synthesis_noise.") else {}
        return frozenset(as_injected(solver, solver, generator))

    def chunk(self, name: str) -> int | None:
        """Rows of a batch to compute at a time, by what `training` names; None where a batch must stay whole."""
        rows: int | None = self.training.get("chunks", {}).get(name)
        return rows

    def form(self, path: str, block: int) -> str:
        """The file that holds the graph `path` for processors with `block` channels a block, or for all."""
        return blocked_form(path, block) if blocked_form(path, block) in self.files else path

    def to_json(self) -> str:
        """The manifest as it is written to disk."""
        values = dataclasses.asdict(self)
        values |= values.pop("unknown")
        return json.dumps(values, indent=1, sort_keys=True) + "\n"


def blocked_form(path: str, block: int) -> str:
    """Where a bundle holds the graph `path` for processors with `block` channels a block."""
    stem, _, suffix = path.rpartition(".")
    return f"{stem}.blocked{block}.{suffix}"


def as_injected(pretrained: Mapping[str, T], trained: Mapping[str, T], generator: Mapping[str, T]) -> dict[str, T]:
    """What belongs to the weights of solvers and generator, by the names that the synthesis graphs give them."""
    injected = {name.replace("solver.", "loss.pretrained.", 1): value for name, value in pretrained.items()}
    injected |= {name.replace("solver.", "loss.trained.", 1): value for name, value in trained.items()}
    return injected | dict(generator)

"""What the exporter writes and the device reads: the contract between the two halves.

A bundle is a folder with a `manifest.json` that names every other file with its SHA-256 and size. Models whose
weights change on the device (solver, generator, discriminator) are plain ONNX files; the manifest says at which
byte each weight lies, so that a box without the onnx package can read them and write new ones in place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from reverie.device_runtime.bundle.labels import check_labels
from reverie.device_runtime.bundle.onnx_check import MAX_BYTES
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.files import read_file

FORMAT = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
BACKBONE = "backbone.onnx"
CANARY = "canary.npz"
MODELS = ("solver", "generator", "discriminator")
SEARCHES = ("synthesis_image", "synthesis_noise")
SAMPLING = "sampling"
BETAS = {"solver": (0.9, 0.999), "generator": (0.5, 0.99), "discriminator": (0.5, 0.99)}
"""AdamW's, by network."""
CHECKPOINT = "checkpoint"
TRAINING_PARTS = ("training_model.onnx", "eval_model.onnx", "optimizer_model.onnx", CHECKPOINT)
REQUIRED_FILES = (
    *(f"{model}.onnx" for model in MODELS),
    *(f"{model}_train/{part}" for model in MODELS for part in TRAINING_PARTS),
    *(f"{search}.onnx" for search in SEARCHES),
)

NAMED_BY_NONE = frozenset((MANIFEST, SIGNATURE))
MAX_FILES = 64
MAX_MANIFEST = 16 << 20
MAX_NUMBERS = 1 << 24
"""Numbers in an input, in its noise or in its logits."""
MAX_TOTAL = 1 << 30
"""Bytes of all files of a bundle; one of them may have onnx_check.MAX_BYTES."""

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
    """

    until: str
    mean: tuple[float, ...] = ()
    variance: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Backbone:
        """What `dataclasses.asdict` made, read from JSON. Raises KeyError, TypeError or ValueError."""
        mean, variance = (tuple(float(n) for n in values[name]) for name in ("mean", "variance"))
        if not isinstance(values["until"], str) or len(mean) != len(variance):
            raise TypeError("the backbone is not stated by its end and the statistics of its features")
        if not all(math.isfinite(n) for n in mean + variance) or min(variance, default=0) < 0:
            raise ValueError("the statistics of the features are no numbers")
        return cls(values["until"], mean, variance)

    @property
    def scale(self) -> float:
        """What the backbone divides all features by."""
        average = sum(self.variance) / max(len(self.variance), 1)
        return math.sqrt(average) if average > 0 else 1.0


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
        generator = dict.fromkeys(self.tensors["generator"]) if path.startswith("synthesis_noise.") else {}
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

    @classmethod
    def from_json(cls, text: str, where: Path) -> Manifest:
        """Parse and check a manifest; `where` is named in errors. Raises BundleError."""
        try:
            values = json.loads(text)
            version = values["format"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise BundleError(f"{where} is no bundle manifest: export the bundle again") from None
        if version != FORMAT:
            raise BundleError(
                f"{where} has format {version!r}, this Reverie reads format {FORMAT}: "
                "update Reverie or export the bundle again"
            )
        known = {f.name for f in dataclasses.fields(cls)} - {"unknown"}
        try:
            fields = {name: values[name] for name in known if name in values}
            fields["unknown"] = {name: values[name] for name in values if name not in known}
            fields["family"] = values.get("family") or values["name"]
            fields["classes"] = tuple(str(label) for label in values["classes"])
            fields["input_shape"] = tuple(int(n) for n in values["input_shape"])
            fields["preprocessing"] = Preprocessing.from_json(values["preprocessing"])
            fields["backbone"] = Backbone.from_json(values["backbone"]) if values.get("backbone") else None
            fields["files"] = {path: FileRecord(**record) for path, record in values["files"].items()}
            fields["tensors"] = {
                model: {
                    name: TensorRecord(int(t["offset"]), tuple(int(n) for n in t["shape"]))
                    for name, t in tensors.items()
                }
                for model, tensors in values["tensors"].items()
            }
            manifest = cls(**fields)
            manifest._check()
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BundleError(f"{where} is not a complete manifest ({error}): export the bundle again") from None
        return manifest

    def _check(self) -> None:
        """Raise ValueError, or KeyError, where what was read cannot be used."""
        self._check_sizes()
        if not 0 < len(self.classes) <= self.slots:
            raise ValueError("class names are missing or more than the class slots")
        check_labels(self.classes, BundleError)
        if not isinstance(self.name, str) or not isinstance(self.created, str):
            raise TypeError("name and date are no text")
        if not isinstance(self.family, str):
            raise TypeError("the family is no text")
        if not (self.name + self.created + self.family).isprintable():
            raise ValueError("name, date or family cannot be printed")
        _ = self.made
        self._check_files()
        for artifact, figures in self.parity.items():
            if not isinstance(figures["relative"], int | float) or not isinstance(figures["at"], str):
                raise TypeError(f"the comparison of {artifact} with torch is no number and place")
        if self.training:
            self._check_training()

    def _check_training(self) -> None:
        """Raise ValueError, TypeError or KeyError where what trains is not stated."""
        figures = [self.training[name] for name in ("parameters", "of", "compute")]
        if not isinstance(self.training["rule"], str) or not all(isinstance(n, int | float) for n in figures):
            raise TypeError("what trains of the solver is no rule with its figures")
        for name, momentum in self.training.get("statistics", {}).items():
            if name not in self.tensors["solver"] or not 0 < momentum <= 1:
                raise ValueError(f"{name} is no running statistic of the solver with its momentum")
        for model, rows in self.training.get("chunks", {}).items():
            if model not in {*MODELS, *SEARCHES, SAMPLING} or not isinstance(rows, int) or rows < 1:
                raise ValueError(f"{rows} is no number of rows for {model}")

    def _check_sizes(self) -> None:
        """Raise ValueError where a size is none, or larger than a device can hold."""
        sizes = (self.slots, self.noise_size, *self.input_shape)
        if not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError("a size is not a positive whole number")
        if max(self.slots, self.noise_size, math.prod(self.input_shape)) > MAX_NUMBERS:
            raise ValueError(f"a size is larger than {MAX_NUMBERS:,}")

    def _check_files(self) -> None:
        """Raise ValueError unless all files lie in the bundle, none is too large, and all that is needed is named."""
        sizes = [record.size for record in self.files.values()]
        if not all(type(size) is int and 0 <= size <= MAX_BYTES for size in sizes):
            raise ValueError(f"a size is no number of bytes up to {MAX_BYTES >> 20} MB")
        if len(sizes) > MAX_FILES or sum(sizes) > MAX_TOTAL:
            raise ValueError(f"it names more than {MAX_FILES} files or {MAX_TOTAL >> 20} MB")
        for path in self.files:
            parts = PurePosixPath(path).parts
            inside = parts and parts[0] != "/" and not {"..", "."} & set(parts) and "\\" not in path
            if not inside or not path.isprintable() or path in NAMED_BY_NONE:
                raise ValueError(f"it names {path!r}, which lies outside the bundle")
        for path in REQUIRED_FILES:
            if path not in self.files:
                raise ValueError(f"it does not name {path}")
        if (BACKBONE in self.files) != (self.backbone is not None):
            raise ValueError(f"it does not say what {BACKBONE} is" if self.backbone is None else f"it lacks {BACKBONE}")
        if self.backbone is not None and len(self.backbone.mean) not in {0, self.input_shape[0]}:
            raise ValueError("the statistics of the features are not of its input shape")
        if not all(model in self.tensors for model in MODELS) or "active" not in self.tensors["solver"]:
            raise ValueError("it does not say where the weights lie")


def blocked_form(path: str, block: int) -> str:
    """Where a bundle holds the graph `path` for processors with `block` channels a block."""
    stem, _, suffix = path.rpartition(".")
    return f"{stem}.blocked{block}.{suffix}"


def fingerprint(content: bytes) -> FileRecord:
    """SHA-256 and size of `content`."""
    return FileRecord(hashlib.sha256(content).hexdigest(), len(content))


def as_injected(pretrained: Mapping[str, T], trained: Mapping[str, T], generator: Mapping[str, T]) -> dict[str, T]:
    """What belongs to the weights of solvers and generator, by the names that the synthesis graphs give them."""
    injected = {name.replace("solver.", "loss.pretrained.", 1): value for name, value in pretrained.items()}
    injected |= {name.replace("solver.", "loss.trained.", 1): value for name, value in trained.items()}
    return injected | dict(generator)


def require_match(content: bytes, record: FileRecord, where: object) -> None:
    """Raise BundleError unless `content` is what `record` says."""
    if len(content) != record.size:
        size = f"{len(content)} bytes" if len(content) <= record.size else "more bytes"
        raise BundleError(f"{where} has {size} instead of {record.size}: copy the bundle again")
    if fingerprint(content) != record:
        raise BundleError(f"{where} was altered (its SHA-256 differs): copy the bundle again")


def read_verified(folder: Path, name: str, record: FileRecord) -> bytes:
    """Content of `folder/name`, which must match `record`. Raises BundleError."""
    try:
        content = read_file(folder / name, record.size)
    except OSError:
        raise BundleError(f"{folder} lacks {name}: copy the bundle again") from None
    require_match(content, record, folder / name)
    return content


def identity(manifest: bytes) -> str:
    """Name of a bundle in a home: 16 digits of the SHA-256 of its manifest, as it lies in the file."""
    return hashlib.sha256(manifest).hexdigest()[:16]


def no_bundle(path: Path) -> BundleError:
    """To be raised where a bundle was asked for at `path` and has no manifest, or is not there."""
    lacks = f"is no bundle: it has no readable {MANIFEST}" if path.exists() else "does not exist: check the path"
    return BundleError(f"{path} {lacks}")


def read_manifest(folder: Path, expected: str | None = None) -> Manifest:
    """The manifest of a bundle folder; in a home, the bundle must be the `expected` one. Raises BundleError."""
    path = folder / MANIFEST
    try:
        text = read_file(path, MAX_MANIFEST)
    except OSError:
        raise no_bundle(folder) from None
    if expected not in {None, identity(text)}:
        raise BundleError(f"{path} was altered since it was installed: install the bundle into a new home")
    return parse_manifest(text, path)


def parse_manifest(text: bytes, where: Path) -> Manifest:
    """The manifest in a file; `where` is named in errors. Raises BundleError."""
    if len(text) > MAX_MANIFEST:
        raise BundleError(f"{where} has more than the {MAX_MANIFEST >> 20} MB that a manifest may have")
    try:
        return Manifest.from_json(text.decode("utf-8"), where)
    except UnicodeDecodeError:
        raise BundleError(f"{where} is no readable manifest: copy the bundle again") from None


def read_training(folder: Path, manifest: Manifest, model: str, block: int) -> dict[str, bytes]:
    """The training artifacts of `model` in a bundle folder, verified, in the form for `block`. Raises BundleError."""
    paths = {part: manifest.form(f"{model}_train/{part}", block) for part in TRAINING_PARTS}
    return {part: read_verified(folder, path, manifest.files[path]) for part, path in paths.items()}


def training_parts(folder: Path, block: int = 1) -> dict[str, bytes]:
    """The training artifacts that lie in `folder`, which this process has written itself, in the form for `block`."""
    forms = {part: folder / blocked_form(part, block) for part in TRAINING_PARTS}
    return {part: (form if form.is_file() else folder / part).read_bytes() for part, form in forms.items()}


def read_weights(model: bytes, tensors: Mapping[str, TensorRecord]) -> Weights:
    """Copies of the float32 tensors that lie in `model` at the places that `tensors` names."""
    weights = {}
    for name, record in tensors.items():
        count = math.prod(record.shape)
        if min(record.offset, *record.shape, 0) < 0 or record.offset + 4 * count > len(model):
            raise BundleError(f"tensor {name} lies outside its model file: export the bundle again")
        flat = np.frombuffer(model, dtype="<f4", count=count, offset=record.offset)
        weights[name] = flat.reshape(record.shape).astype(np.float32)
    return weights


def write_weights(model: bytes, tensors: Mapping[str, TensorRecord], weights: Mapping[str, np.ndarray]) -> bytes:
    """`model` with each of `weights` put in place; names without a place are refused with BundleError."""
    patched = bytearray(model)
    for name, value in weights.items():
        if name not in tensors or tuple(value.shape) != tensors[name].shape:
            raise BundleError(f"weight {name} {value.shape} has no place in the model: export the bundle again")
        content = np.ascontiguousarray(value, dtype="<f4").tobytes()
        patched[tensors[name].offset : tensors[name].offset + len(content)] = content
    return bytes(patched)

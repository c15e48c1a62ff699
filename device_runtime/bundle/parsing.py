"""A manifest as it is read: parsed, and refused where anything in it cannot be used."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path, PurePosixPath

from reverie.device_runtime.bundle.gaussians import Gaussians
from reverie.device_runtime.bundle.hidden import Hidden
from reverie.device_runtime.bundle.labels import check_labels
from reverie.device_runtime.bundle.manifest import (
    BACKBONE,
    FORMAT,
    GAUSSIANS,
    MAX_FILES,
    MAX_MANIFEST,
    MAX_NUMBERS,
    MAX_TOTAL,
    MODELS,
    MOST_FEATURES,
    NAMED_BY_NONE,
    OF_THE_GENERATOR,
    OF_THE_SOLVER,
    READABLE,
    SAMPLING,
    SEARCHES,
    STATISTICS,
    Backbone,
    FileRecord,
    Manifest,
    Statistics,
    TensorRecord,
)
from reverie.device_runtime.bundle.onnx_check import MAX_BYTES
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.bundle.rehearsal import Rehearsal
from reverie.device_runtime.errors import BundleError


def parse_manifest(text: bytes, where: Path) -> Manifest:
    """The manifest in a file; `where` is named in errors. Raises BundleError."""
    if len(text) > MAX_MANIFEST:
        raise BundleError(f"{where} has more than the {MAX_MANIFEST >> 20} MB that a manifest may have")
    try:
        return read_json(text.decode("utf-8"), where)
    except UnicodeDecodeError:
        raise BundleError(f"{where} is no readable manifest: copy the bundle again") from None


def read_json(text: str, where: Path) -> Manifest:
    """The manifest that `text` states, checked; `where` is named in errors. Raises BundleError."""
    try:
        values = json.loads(text)
        version = values["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BundleError(f"{where} is no bundle manifest: export the bundle again") from None
    if version not in READABLE:
        raise BundleError(
            f"{where} has format {version!r}, this Reverie reads format {READABLE[0]} to {FORMAT}: "
            "update Reverie or export the bundle again"
        )
    known = {f.name for f in dataclasses.fields(Manifest)} - {"unknown"}
    try:
        fields = {name: values[name] for name in known if name in values}
        fields["unknown"] = {name: values[name] for name in values if name not in known}
        fields["family"] = values.get("family") or values["name"]
        fields["classes"] = tuple(str(label) for label in values["classes"])
        fields["input_shape"] = tuple(int(n) for n in values["input_shape"])
        fields["preprocessing"] = Preprocessing.from_json(values["preprocessing"])
        fields["backbone"] = Backbone.from_json(values["backbone"]) if values.get("backbone") else None
        fields["statistics"] = Statistics.from_json(values["statistics"]) if values.get("statistics") else None
        fields["hidden"] = Hidden.from_json(values["hidden"]) if values.get("hidden") else None
        fields["gaussians"] = Gaussians.from_json(values["gaussians"]) if values.get("gaussians") else None
        fields["rehearsal"] = Rehearsal.from_json(values["rehearsal"]) if values.get("rehearsal") else None
        fields["files"] = {path: FileRecord(**record) for path, record in values["files"].items()}
        fields["tensors"] = {
            model: {
                name: TensorRecord(int(t["offset"]), tuple(int(n) for n in t["shape"])) for name, t in tensors.items()
            }
            for model, tensors in values["tensors"].items()
        }
        manifest = Manifest(**fields)
        _check(manifest)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError(f"{where} is not a complete manifest ({error}): export the bundle again") from None
    return manifest


def _check(manifest: Manifest) -> None:
    """Raise ValueError, or KeyError, where what was read cannot be used."""
    _check_sizes(manifest)
    if not 0 < len(manifest.classes) <= manifest.slots:
        raise ValueError("class names are missing or more than the class slots")
    check_labels(manifest.classes, BundleError)
    if not isinstance(manifest.name, str) or not isinstance(manifest.created, str):
        raise TypeError("name and date are no text")
    if not isinstance(manifest.family, str):
        raise TypeError("the family is no text")
    if not (manifest.name + manifest.created + manifest.family).isprintable():
        raise ValueError("name, date or family cannot be printed")
    _ = manifest.made
    _check_files(manifest)
    _check_kept(manifest)
    for artifact, figures in manifest.parity.items():
        if not isinstance(figures["relative"], int | float) or not isinstance(figures["at"], str):
            raise TypeError(f"the comparison of {artifact} with torch is no number and place")
    if manifest.training:
        _check_training(manifest)


def _check_training(manifest: Manifest) -> None:
    """Raise ValueError, TypeError or KeyError where what trains is not stated."""
    figures = [manifest.training[name] for name in ("parameters", "of", "compute")]
    if not isinstance(manifest.training["rule"], str) or not all(isinstance(n, int | float) for n in figures):
        raise TypeError("what trains of the solver is no rule with its figures")
    for name, momentum in manifest.training.get("statistics", {}).items():
        if name not in manifest.tensors["solver"] or not 0 < momentum <= 1:
            raise ValueError(f"{name} is no running statistic of the solver with its momentum")
    for model, rows in manifest.training.get("chunks", {}).items():
        if model not in {*MODELS, *SEARCHES, SAMPLING} or not isinstance(rows, int) or rows < 1:
            raise ValueError(f"{rows} is no number of rows for {model}")


def _check_sizes(manifest: Manifest) -> None:
    """Raise ValueError where a size is none, or larger than a device can hold."""
    sizes = (manifest.slots, manifest.noise_size, *manifest.input_shape)
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError("a size is not a positive whole number")
    if max(manifest.slots, manifest.noise_size, math.prod(manifest.input_shape)) > MAX_NUMBERS:
        raise ValueError(f"a size is larger than {MAX_NUMBERS:,}")


def _check_files(manifest: Manifest) -> None:
    """Raise ValueError unless all files lie in the bundle, none is too large, and all that is needed is named."""
    sizes = [record.size for record in manifest.files.values()]
    if not all(type(size) is int and 0 <= size <= MAX_BYTES for size in sizes):
        raise ValueError(f"a size is no number of bytes up to {MAX_BYTES >> 20} MB")
    if len(sizes) > MAX_FILES or sum(sizes) > MAX_TOTAL:
        raise ValueError(f"it names more than {MAX_FILES} files or {MAX_TOTAL >> 20} MB")
    for path in manifest.files:
        parts = PurePosixPath(path).parts
        inside = parts and parts[0] != "/" and not {"..", "."} & set(parts) and "\\" not in path
        if not inside or not path.isprintable() or path in NAMED_BY_NONE:
            raise ValueError(f"it names {path!r}, which lies outside the bundle")
    kept = STATISTICS if manifest.gaussians is None else GAUSSIANS
    for path in OF_THE_SOLVER + (OF_THE_GENERATOR if manifest.has_generator else (kept,)):
        if path not in manifest.files:
            raise ValueError(f"it does not name {path}")
    if (BACKBONE in manifest.files) != (manifest.backbone is not None):
        raise ValueError(f"it does not say what {BACKBONE} is" if manifest.backbone is None else f"it lacks {BACKBONE}")
    if manifest.backbone is not None and len(manifest.backbone.mean) not in {0, manifest.input_shape[0]}:
        raise ValueError("the statistics of the features are not of its input shape")
    if not all(model in manifest.tensors for model in manifest.models) or "active" not in manifest.tensors["solver"]:
        raise ValueError("it does not say where the weights lie")


def _check_kept(manifest: Manifest) -> None:
    """Raise ValueError, or KeyError, where what is kept of classes cannot be of this bundle."""
    if manifest.statistics is not None:
        _check_statistics(manifest)
    if manifest.hidden is not None:
        _check_hidden(manifest, manifest.hidden)
    if manifest.gaussians is not None:
        _check_gaussians(manifest, manifest.gaussians)


def _check_statistics(manifest: Manifest) -> None:
    """Raise ValueError where class statistics cannot be what is behind the backbone."""
    features = manifest.input_shape
    if manifest.backbone is None or len(features) != 1 or features[0] > MOST_FEATURES:
        raise ValueError("statistics are of features of a backbone, in one row each")
    if manifest.noise_size != features[0]:
        raise ValueError("its noise has another size than the features that are drawn")
    shapes = sorted(record.shape for name, record in manifest.tensors["solver"].items() if name != "active")
    if shapes != sorted([(manifest.slots, *features), (manifest.slots,)]):
        raise ValueError("its solver is not the one linear layer that statistics give")


def _check_hidden(manifest: Manifest, hidden: Hidden) -> None:
    """Raise ValueError, or KeyError, where statistics cannot be of what enters the solver's last layer."""
    if manifest.statistics is not None or manifest.backbone is not None:
        raise ValueError("statistics beside a generator are for a solver that takes images")
    if not 0 < hidden.size <= MOST_FEATURES:
        raise ValueError(f"statistics are of 1 to {MOST_FEATURES} features, not of {hidden.size}")
    if STATISTICS not in manifest.files:
        raise ValueError(f"it does not name {STATISTICS}")
    tensors = manifest.tensors["solver"]
    shapes = (tensors[hidden.weight].shape, tensors[hidden.bias].shape)
    if shapes != ((manifest.slots, hidden.size), (manifest.slots,)):
        raise ValueError("its solver has no linear layer behind what the statistics are of")


def _check_gaussians(manifest: Manifest, gaussians: Gaussians) -> None:
    """Raise ValueError where Gaussians of the classes cannot be what is behind the backbone."""
    if manifest.backbone is None or manifest.statistics is not None or manifest.hidden is not None:
        raise ValueError("Gaussians of classes are of features of a backbone, without statistics")
    if manifest.noise_size != gaussians.rank + manifest.features:
        raise ValueError("its noise has another size than the directions and the features that are drawn")
    if manifest.slots * manifest.features * (gaussians.rank + 2) > MAX_NUMBERS:
        raise ValueError(f"its Gaussians have more than {MAX_NUMBERS:,} numbers")

"""Files of a bundle: read whole, held to what the manifest says of them, and weights read and written in place."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reverie.device_runtime.bundle.manifest import (
    MANIFEST,
    MAX_MANIFEST,
    TRAINING_GRAPH,
    FileRecord,
    Manifest,
    TensorRecord,
    Weights,
    blocked_form,
)
from reverie.device_runtime.bundle.parsing import parse_manifest
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.files import read_file


def fingerprint(content: bytes) -> FileRecord:
    """SHA-256 and size of `content`."""
    return FileRecord(hashlib.sha256(content).hexdigest(), len(content))


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


def read_training(folder: Path, manifest: Manifest, model: str, block: int) -> bytes:
    """The training graph of `model` in a bundle folder, verified, in the form for `block`. Raises BundleError."""
    path = manifest.form(f"{model}_train/{TRAINING_GRAPH}", block)
    return read_verified(folder, path, manifest.files[path])


def training_graph(folder: Path, block: int = 1) -> bytes:
    """The training graph that lies in `folder`, which this process has written itself, in the form for `block`."""
    form = folder / blocked_form(TRAINING_GRAPH, block)
    return (form if form.is_file() else folder / TRAINING_GRAPH).read_bytes()


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

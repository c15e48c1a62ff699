"""The canary images that a provider may ship: examples of the known classes, on which no update may do much worse.

They are inputs as the solver takes them, images or features, in one file of plain arrays.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reverie.device_runtime.bundle.contents import read_verified
from reverie.device_runtime.bundle.manifest import CANARY, Manifest
from reverie.device_runtime.errors import BundleError


def write_canary(inputs: np.ndarray, labels: np.ndarray) -> bytes:
    """The file's content, of inputs (N, *S), stored as float16, and class slots (N,)."""
    file = io.BytesIO()
    np.savez(file, inputs=inputs.astype(np.float16), labels=labels.astype(np.int64))
    return file.getvalue()


class Canary(NamedTuple):
    """Inputs (N, *S) float32 and the class slot of each (N,)."""

    inputs: np.ndarray
    labels: np.ndarray


def read_canary(folder: Path, manifest: Manifest) -> Canary | None:
    """The canary images as inputs, None where the bundle in `folder` has none. Raises BundleError."""
    if CANARY not in manifest.files:
        return None
    content = read_verified(folder, CANARY, manifest.files[CANARY])
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            inputs, labels = arrays["inputs"], arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError):
        inputs, labels = np.empty(0), np.empty(0)
    shaped = inputs.dtype == np.float16 and inputs.shape[1:] == manifest.input_shape and np.isfinite(inputs).all()
    labelled = labels.dtype == np.int64 and labels.shape == inputs.shape[:1] and len(labels) > 0
    if not shaped or not labelled or labels.min() < 0 or labels.max() >= len(manifest.classes):
        raise BundleError(f"{folder / CANARY} holds no inputs of the bundle's classes: export the bundle again")
    return Canary(inputs.astype(np.float32), labels)

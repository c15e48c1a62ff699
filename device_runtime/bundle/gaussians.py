"""What is kept of classes behind a frozen backbone where more than one linear layer follows: a Gaussian for each.

Mean and covariance of each class's own inputs of the solver, the covariance as a few directions and, of each feature,
the variance that they leave (factor analysis; Tipping & Bishop, "Probabilistic principal component analysis", 1999).
A file of plain arrays, in the place of generator and discriminator, that never tells of a single image.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from reverie.device_runtime.bundle.statistics import LEAST_IMAGES, MOST_IMAGES
from reverie.device_runtime.errors import BundleError

MOST_RANK = 64
"""Directions of a class that a bundle may keep."""


@dataclass(frozen=True)
class Gaussians:
    """What the manifest says of them: they take the place of generator and discriminator."""

    rank: int
    """Directions of each class."""
    power: float = 1.0
    """They are of sign(f)·|f|^power of the features f that the backbone standardises: a ReLU's are lopsided, and their
    roots nearly normal."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Gaussians:
        """What `dataclasses.asdict` made, read from JSON. Raises KeyError, TypeError or ValueError."""
        rank, power = values["rank"], values["power"]
        if type(rank) is not int or not isinstance(power, float):
            raise TypeError("the Gaussians of the classes are not stated by a rank and a power")
        if not 0 < rank <= MOST_RANK or not 0 < power <= 1:
            raise ValueError(f"{rank} is not a rank of 1 to {MOST_RANK}, or {power} no power up to 1")
        return cls(rank, power)


@dataclass(frozen=True)
class ClassGaussians:
    """Of C class slots, D features each and R directions: the covariance of class c is FᵀF + diag(v), F its factors.

    All but the counts are float32. A slot without images is all 0.
    """

    counts: np.ndarray
    """Images of each class (C,), int64."""
    means: np.ndarray
    """(C, D)."""
    factors: np.ndarray
    """(C, R, D)."""
    variances: np.ndarray
    """What the factors leave of the variance of each feature, v (C, D), 0 or more."""

    @classmethod
    def none(cls, slots: int, features: int, rank: int) -> ClassGaussians:
        """Of no image."""
        flat = np.zeros((slots, features), np.float32)
        return cls(np.zeros(slots, np.int64), flat, np.zeros((slots, rank, features), np.float32), flat.copy())

    @property
    def used(self) -> np.ndarray:
        """The slots that have images, rising."""
        return np.flatnonzero(self.counts)

    @property
    def rank(self) -> int:
        """R."""
        return int(self.factors.shape[1])

    def with_slots(self, slots: int) -> ClassGaussians:
        """With as many class slots, of which those beyond the ones that are there are unused."""
        spare = slots - len(self.counts)
        means, variances = (np.pad(values, ((0, spare), (0, 0))) for values in (self.means, self.variances))
        factors = np.pad(self.factors, ((0, spare), (0, 0), (0, 0)))
        return ClassGaussians(np.pad(self.counts, (0, spare)), means, factors, variances)

    def require_sound(self) -> None:
        """Raise BundleError where values cannot be those of images, or tell of fewer than LEAST_IMAGES of a class."""
        if not all(np.isfinite(values).all() for values in (self.means, self.factors, self.variances)):
            raise BundleError("the Gaussians of the classes are not all finite numbers: export the bundle again")
        if (self.variances < 0).any():
            raise BundleError("a Gaussian of the classes has a negative variance: export the bundle again")
        if not len(self.used):
            raise BundleError("the Gaussians are of no class: export the bundle again")
        few = [slot for slot in self.used if self.counts[slot] < LEAST_IMAGES]
        if few:
            raise BundleError(
                f"the Gaussian of class slot {few[0]} is of {self.counts[few[0]]} images: {LEAST_IMAGES} are needed"
            )


def write_gaussians(gaussians: ClassGaussians) -> bytes:
    """The file's content: its four arrays by their names. Raises BundleError as `require_sound` does."""
    gaussians.require_sound()
    file = io.BytesIO()
    np.savez(file, **vars(gaussians))
    return file.getvalue()


def read_gaussians(content: bytes, slots: int, features: int, rank: int, where: object) -> ClassGaussians:
    """What `write_gaussians` made of so many `slots`, `features` and directions. Raises BundleError naming `where`."""
    expected = {name: values.shape for name, values in vars(ClassGaussians.none(slots, features, rank)).items()}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in expected}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError):
        raise BundleError(f"{where} holds no Gaussians of classes: export the bundle again") from None
    if any(values.dtype.kind not in "iuf" for values in found.values()):
        raise BundleError(f"{where} holds what is no number: export the bundle again")
    shapes = {name: values.shape for name, values in found.items()}
    if shapes != expected:
        raise BundleError(
            f"{where}: {_listed(shapes)} are not of {slots} slots with {features} features and {rank} directions: "
            "export the bundle again"
        )
    counts = found["counts"]
    # Not a number is neither 0 or more, nor itself rounded.
    if not ((counts >= 0) & (counts <= MOST_IMAGES) & (counts == np.floor(counts))).all():
        raise BundleError(f"{where}: the counts are no numbers of images: export the bundle again")
    flat = {name: values.astype(np.float32) for name, values in found.items() if name != "counts"}
    gaussians = ClassGaussians(counts.astype(np.int64), **flat)
    gaussians.require_sound()
    for values in flat.values():
        values[gaussians.counts == 0] = 0
    return gaussians


def _listed(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())

"""What is kept of classes behind a frozen backbone: a mean for each, and one scatter for all.

Sums, so that the order in which images come does not matter but for rounding, nothing is forgotten, and the statistics
of two boxes add up (Chan, Golub & LeVeque, "Algorithms for computing the sample variance", The American Statistician,
1983). They lie in a file of plain arrays, and never tell of a single image.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from reverie.device_runtime.errors import BundleError

LEAST_IMAGES = 4
"""Of a class, so that its mean shows none of them: the frames that an update needs, less one that is held out."""
MOST_IMAGES = 2**40
"""Of a class, so that sums of counts stay exact."""


@dataclass(frozen=True)
class ClassStatistics:
    """Of the images of C class slots, D features each.

    A slot without images has count 0 and mean 0.
    """

    counts: np.ndarray
    """Images of each class (C,), int64."""
    means: np.ndarray
    """Of each class (C, D), float64; float32 as they were read."""
    scatter: np.ndarray
    """Σ (x - μ)(x - μ)ᵀ over all images, about the mean of the class of each (D, D), float64; float32 as it was read.
    """

    @property
    def used(self) -> np.ndarray:
        """The slots that have images, rising."""
        return np.flatnonzero(self.counts)

    @property
    def freedom(self) -> int:
        """By which the scatter is divided for a covariance: images less classes."""
        return int(self.counts.sum()) - len(self.used)

    def __add__(self, other: ClassStatistics) -> ClassStatistics:
        """Those of the images of both. Raises BundleError where they are of other slots or features."""
        if self.means.shape != other.means.shape:
            raise BundleError(
                f"statistics of {_shape(self.means)} and of {_shape(other.means)} do not add up: "
                "they must be of the same bundle"
            )
        both = self.joined(other.counts, other.means)
        both.scatter[:] += other.scatter
        return both

    def joined(self, counts: np.ndarray, means: np.ndarray) -> ClassStatistics:
        """With `counts` (C,) images more, all at the `means` (C, D) of their classes; the scatter is a new one."""
        together = self.counts + counts
        shares = (counts / np.maximum(together, 1))[:, None]
        apart = means - self.means
        # What lies between the two means of a class is scatter about the mean of both.
        scatter = (apart * (self.counts[:, None] * shares)).T @ apart
        scatter += self.scatter
        return ClassStatistics(together, self.means + shares * apart, scatter)

    def rounded(self) -> ClassStatistics:
        """As a file holds them, float32: what is solved from these is what is solved from the file."""
        return ClassStatistics(self.counts, self.means.astype(np.float32), self.scatter.astype(np.float32))

    def without(self, slot: int) -> ClassStatistics:
        """With `slot` unused. All classes share the scatter: the covariance that it gives stays as it is."""
        others = np.arange(len(self.counts)) != slot
        left = ClassStatistics(self.counts * others, self.means * others[:, None], self.scatter)
        return ClassStatistics(left.counts, left.means, self.scatter * (left.freedom / max(self.freedom, 1)))

    def with_slots(self, slots: int) -> ClassStatistics:
        """With as many class slots, of which those beyond the ones that are there are unused."""
        spare = slots - len(self.counts)
        return ClassStatistics(np.pad(self.counts, (0, spare)), np.pad(self.means, ((0, spare), (0, 0))), self.scatter)

    def require_sound(self) -> None:
        """Raise BundleError where values cannot be those of images, or tell of fewer than LEAST_IMAGES of a class."""
        if not (np.isfinite(self.means).all() and np.isfinite(self.scatter).all()):
            raise BundleError("the statistics of the classes are not all finite numbers: export the bundle again")
        if (np.diagonal(self.scatter) < 0).any():
            raise BundleError("the scatter of the classes has a negative variance: export the bundle again")
        if not len(self.used):
            raise BundleError("the statistics are of no class: export the bundle again")
        few = [slot for slot in self.used if self.counts[slot] < LEAST_IMAGES]
        if few:
            raise BundleError(
                f"the statistics of class slot {few[0]} are of {self.counts[few[0]]} images: {LEAST_IMAGES} are needed"
            )


def write_statistics(statistics: ClassStatistics) -> bytes:
    """The file's content: counts (C,) int64; means (C, D) and the scatter's upper triangle (D(D+1)/2,) float32.

    Raises BundleError as `require_sound` does.
    """
    statistics.require_sound()
    file = io.BytesIO()
    np.savez(
        file,
        counts=statistics.counts.astype(np.int64),
        means=statistics.means.astype(np.float32),
        scatter=statistics.scatter[_upper(len(statistics.scatter))].astype(np.float32),
    )
    return file.getvalue()


def read_statistics(content: bytes, slots: int, features: int, where: object) -> ClassStatistics:
    """What `write_statistics` made of so many `slots` and `features`. Raises BundleError naming `where`."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            counts, means, triangle = (arrays[name] for name in ("counts", "means", "scatter"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError):
        raise BundleError(f"{where} holds no statistics of classes: export the bundle again") from None
    if any(array.dtype.kind not in "iuf" for array in (counts, means, triangle)):
        raise BundleError(f"{where} holds what is no number: export the bundle again")
    shapes = ((slots,), (slots, features), (features * (features + 1) // 2,))
    if (counts.shape, means.shape, triangle.shape) != shapes:
        raise BundleError(
            f"{where}: counts {counts.shape}, means {means.shape} and scatter {triangle.shape} are not of "
            f"{slots} slots with {features} features: export the bundle again"
        )
    # Not a number is neither 0 or more, nor itself rounded.
    if not ((counts >= 0) & (counts <= MOST_IMAGES) & (counts == np.floor(counts))).all():
        raise BundleError(f"{where}: the counts are no numbers of images: export the bundle again")
    scatter = np.zeros((features, features), np.float32)
    scatter[_upper(features)] = triangle
    for at in range(features):
        scatter[at + 1 :, at] = scatter[at, at + 1 :]
    found = ClassStatistics(counts.astype(np.int64), means.astype(np.float32), scatter)
    found.require_sound()
    found.means[found.counts == 0] = 0
    return found


def _upper(features: int) -> np.ndarray:
    """Mask (D, D) of the upper triangle, which takes a sixteenth of the room that its indices do."""
    return np.tri(features, dtype=bool).T


def _shape(means: np.ndarray) -> str:
    return f"{means.shape[0]} slots with {means.shape[1]} features"

"""What a view shows of a Session, at one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reverie.device_runtime.camera.camera import CameraState
from reverie.device_runtime.serving.predictor import Prediction
from reverie.tools.region import Region
from reverie.tools.views.background import UpdateState


@dataclass(frozen=True)
class Moment:
    """One frame, uint8 (H, W, 3) in BGR order, the region of it that is looked at, and what it was taken for.

    `seconds` went by from its coming to its prediction.
    """

    number: int
    image: np.ndarray
    region: np.ndarray
    prediction: Prediction
    generation: str
    seconds: float


@dataclass(frozen=True)
class Kept:
    """What became of one frame that was to be kept: `reason` is None if it was stored."""

    label: str
    reason: str | None
    at: float
    """By time.monotonic()."""


@dataclass(frozen=True)
class Snapshot:
    """All that a view shows."""

    camera: CameraState
    moment: Moment | None
    rate: float
    """Predictions a second."""
    labels: tuple[str, ...]
    """Classes in service, then labels with stored frames, then those that were named in this session."""
    counts: dict[str, int]
    """Frames to learn by label."""
    set_aside: dict[str, int]
    """Frames by label that were not kept in this session."""
    holding: str | None
    """The label that frames are kept under at the moment, one after the other."""
    suggested: str | None
    asking: Moment | None
    """An unsure frame that waits for its label."""
    last: Kept | None
    trouble: str
    """What went wrong last, in words, until something goes right."""
    update: UpdateState | None
    unfinished: bool
    """Whether frames are held by an update that runs, or was cut off and can go on."""
    generation: str
    region: Region | None

    @property
    def shown(self) -> Moment | None:
        """The frame that is asked about, or else the newest."""
        return self.asking or self.moment

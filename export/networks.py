"""What is exported: solver, what generates or is kept of classes, and what these are of."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reverie.device_runtime.bundle.gaussians import ClassGaussians, Gaussians
from reverie.device_runtime.bundle.manifest import Statistics
from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.device_runtime.bundle.statistics import ClassStatistics
from reverie.device_runtime.errors import ExportError
from reverie.export.solvers.backbone import Front
from reverie.export.solvers.factories import require_shape
from reverie.export.solvers.last_layer import LastLayer


@dataclass(frozen=True)
class Networks:
    """What is exported. All networks are built for `slots` classes, of which the first have names.

    `front` makes their inputs out of images; without one, inputs are the preprocessed images.
    """

    solver: nn.Module
    generator: nn.Module | None
    discriminator: nn.Module | None
    name: str
    classes: tuple[str, ...]
    slots: int
    input_shape: tuple[int, ...]
    preprocessing: Preprocessing
    front: Front | None = None
    train: str = "all"
    """Which parameters of the solver train, see `trainable.select`."""
    family: str = ""
    """Of models that can take each other's place on a box; the name unless given."""
    measured: dict[str, Any] = field(default_factory=dict)
    compared: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was compared before the export, as it stands among the parity figures of the manifest."""
    statistics: ClassStatistics | None = None
    """Of the classes at the input of the solver, in the place of generator and discriminator, used as `kept` says."""
    kept: Statistics | None = None
    gaussians: ClassGaussians | None = None
    """Of the classes at the input of the solver, in the place of generator and discriminator, as `drawn` says."""
    drawn: Gaussians | None = None
    last_layer: LastLayer | None = None
    """With statistics of the classes at its input, which stand beside generator and discriminator."""
    backbone_file: Path | None = None
    """`backbone.onnx` as it was quantised; otherwise it is made of `front`."""
    canary: Path | None = None
    """Class-named folders of images of the known classes, on which no update may do much worse."""

    @property
    def has_generator(self) -> bool:
        """Whether generator and discriminator are exported, and neither statistics nor Gaussians in their place."""
        return self.statistics is None and self.gaussians is None

    @property
    def pair(self) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator. Raises TypeError where something takes their place."""
        if self.generator is None or self.discriminator is None:
            raise TypeError("these networks have statistics or Gaussians in the place of a generator")
        return self.generator, self.discriminator

    @property
    def noise_size(self) -> int:
        """Length of the generator's noise, which a generator states as its attribute `noise_size`.

        Statistics draw one value for each feature, Gaussians one for each direction too.
        """
        if self.gaussians is not None:
            return self.gaussians.rank + math.prod(self.input_shape)
        if self.statistics is not None:
            return self.input_shape[0]
        size = getattr(self.generator, "noise_size", None)
        if not isinstance(size, int) or size < 1:
            raise ExportError("the generator does not say how much noise it takes: give it an int `noise_size`")
        return size


def require_fitting(n: Networks) -> None:
    """Raise ExportError unless the networks fit together."""
    for count in (2, 1):
        inputs, code = torch.zeros(count, *n.input_shape), torch.eye(n.slots)[:count]
        require_shape("solver", n.solver, (inputs,), (count, n.slots))
        if n.has_generator:
            generator, discriminator = n.pair
            require_shape("generator", generator, (torch.zeros(count, n.noise_size), code), (count, *n.input_shape))
            require_shape("discriminator", discriminator, (inputs, code), (count,))

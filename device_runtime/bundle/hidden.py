"""What the manifest says of the statistics of classes at the input of a solver's last layer.

They stand beside a generator, for updates of few frames, see `method/few_frames.py`. `Manifest.statistics` says that
statistics take the place of the generator; a bundle has one or the other, or neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hidden:
    """The solver ends in one linear layer, and gives what enters that as its output `hidden`."""

    size: int
    """Of what enters the layer, and has the statistics."""
    weight: str
    """Name of the layer's weight (C, size) among the tensors of the solver."""
    bias: str
    """Name of its bias (C,)."""
    epsilon: float
    """By which the covariance of the classes is shrunk, see `closed_form.covariance`."""
    slope: float
    """Of the layer's logits on those of discriminant analysis, see `closed_form.slope_of`."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Hidden:
        """What `dataclasses.asdict` made, read from JSON. Raises KeyError, TypeError or ValueError."""
        found = cls(*(values[name] for name in ("size", "weight", "bias", "epsilon", "slope")))
        if type(found.size) is not int or not isinstance(found.weight, str) or not isinstance(found.bias, str):
            raise TypeError("what enters the last layer is not stated by its size and the names of two weights")
        if not isinstance(found.epsilon, float) or not isinstance(found.slope, float):
            raise TypeError("what enters the last layer is not stated with a shrinkage and a slope")
        if not 0 < found.epsilon <= 1 or not 0 < found.slope < math.inf:
            raise ValueError(f"{found.epsilon} is no shrinkage, or {found.slope} no slope")
        return found

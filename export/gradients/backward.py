"""What a rule of `table` sees and emits: a node of the graph, seen from the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import NodeProto

from reverie.export.lowering.lowering import CannotLowerError, Known, Site

MICROSOFT = "com.microsoft"

LARGEST = 2**31 - 1
"""As an end of a Slice, all that there is."""

Values = Sequence[str]
"""The gradient of each input of a node, "" where nobody wants it or none flows; trailing ones may be left out."""

Shape = tuple[int | None, ...]


class Backward(Site):
    """One node whose outputs have gradients: what is known of it, and the nodes that compute those of its inputs."""

    def __init__(
        self, node: NodeProto, known: Known, name: str, gradients: Sequence[str], wanted: Sequence[bool]
    ) -> None:
        """`gradients` are those of the outputs, "" for one that the loss does not depend on."""
        super().__init__(node, known, name)
        self.gradients = gradients
        self._wanted = wanted

    @property
    def gradient(self) -> str:
        """The gradient of the first output."""
        return self.gradients[0]

    @property
    def output(self) -> str:
        """The first output."""
        return str(self.node.output[0])

    @property
    def kind(self) -> int:
        """The type of the first output, in which its gradient is computed."""
        return self.known.types.get(self.output, onnx.TensorProto.FLOAT)

    def wants(self, index: int) -> bool:
        """Whether the gradient of an input is asked for."""
        return index < len(self._wanted) and self._wanted[index]

    def refuse(self, index: int, what: str) -> None:
        """Raise CannotLowerError where the gradient of an input is asked for that has none here."""
        if self.wants(index):
            raise CannotLowerError(f"its {what} must not be trained")

    def shape(self, name: str) -> Shape:
        """Sizes of a value's axes, None for the batch. Raises CannotLowerError."""
        self.rank(name)
        return self.known.shapes[name]

    def shape_of(self, name: str) -> str:
        """The shape of a value as the graph computes it."""
        return self.emit("Shape", name)

    def fused(self, left: str, right: str, **attributes: Any) -> str:
        """A product of matrices, of which either may be taken transposed."""
        return self.emit("FusedMatMul", left, right, domain=MICROSOFT, **attributes)

    def reshaped(self, value: str, like: str) -> str:
        """`value` in the shape of `like`."""
        sides = self.known.shapes.get(like, (None, None))
        if sides.count(None) > 1:
            return self.emit("Reshape", value, self.shape_of(like))
        return self.emit("Reshape", value, np.array([-1 if side is None else side for side in sides], np.int64))

    def summed(self, value: str, like: str, whole: Shape | None = None) -> str:
        """`value` added up over the axes along which `like` was repeated to the shape `whole`, or the output's.

        An axis of unknown size is the batch, which both have alike.
        """
        whole, part = whole or self.shape(self.output), self.shape(like)
        extra = len(whole) - len(part)
        aligned = (1,) * extra + part
        if any(side is None and of is not None for side, of in zip(aligned, whole, strict=True)):
            raise CannotLowerError("a batch meets an axis of a fixed size")
        axes = [i for i, side in enumerate(aligned) if i < extra or (side == 1 and whole[i] != 1)]
        if not axes:
            return value
        if not extra:
            return self.emit("ReduceSum", value, np.array(axes), keepdims=1)
        total = self.emit("ReduceSum", value, np.array(axes), keepdims=0)
        return total if len(axes) == extra else self.reshaped(total, like)

    def repeated(self, value: str, like: str, axes: Sequence[int]) -> str:
        """`value`, which has one entry along `axes` and else the shape of `like`, repeated along these."""
        sides = self.shape(like)
        if any(sides[axis] is None for axis in axes):
            return self.emit("Expand", value, self.shape_of(like))
        return self.emit("Expand", value, np.array([1 if side is None else side for side in sides], np.int64))

    def _constant(self, value: float | np.ndarray) -> str:
        """Numbers become constants of the gradient's type."""
        if isinstance(value, np.ndarray):
            return super()._constant(value)
        return super()._constant(np.asarray(value, onnx.helper.tensor_dtype_to_np_dtype(self.kind)))


class GradientRule(Protocol):
    """Emits what computes the gradients of a node's inputs."""

    def __call__(self, site: Backward) -> Values:
        """The gradient of each input, as far as `site` wants it. Raises CannotLowerError."""

"""The gradient of a convolution's weights in the fastest form for its sizes, and that of its bias.

For each tap it is the sum over images and places of dY times what the tap met of X. The engine multiplies matrices many
times faster than it does anything else here, so that all is to arrange the two into matrices at little cost. Below, N
images of C channels give O channels of M places.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np

from reverie.export.gradients.backward import LARGEST, MICROSOFT
from reverie.export.gradients.convolution import Convolution, met, padded
from reverie.export.lowering.lowering import Site

FEW = 8
"""Channels below which a matrix has too few rows for fast products."""


class KernelGradient:
    """What computes the gradients of weights and bias, at one site."""

    def __init__(self, site: Site, gradient: str, x: str, c: Convolution) -> None:
        """`gradient` is dY (N, O, …), `x` is X (N, C, …)."""
        self.site = site
        self.gradient = gradient
        self.x = x
        self.c = c
        self.form = self._form()

    def _form(self) -> Callable[[], str]:
        """The fastest way to compute (O, C / groups, taps)."""
        c = self.c
        if c.group > 1:
            return self._channel_by_channel if c.inputs == 1 and c.outputs == c.group else self._tap_by_tap
        if c.inputs < FEW and len(c.taps) > 1:
            return self._in_columns
        if len(c.taps) == 1 and c.inputs <= math.prod(c.results):
            return self._image_by_image
        return self._shifted if c.outputs < FEW and {*c.strides} == {1} else self._tap_by_tap

    def weights(self) -> str:
        """(O, C / groups, …)."""
        return self._reshaped(self.form(), self.c.outputs, self.c.inputs, *self.c.kernel)

    def bias(self) -> str:
        """(O,), from the layout that the weights' gradient takes too."""
        if self.form in {self._in_columns, self._channel_by_channel}:
            return self._reshaped(self._added_up([self.gradient_last]), -1)
        if self.form == self._image_by_image:
            axes = np.array([0, *range(2, 2 + len(self.c.kernel))])
            return self.site.emit("ReduceSum", self.gradient, axes, keepdims=0)
        rows = self._reshaped(self.gradient_first, self.c.outputs, -1)
        return self.site.emit("ReduceSum", rows, np.array([1]), keepdims=0)

    @cached_property
    def gradient_last(self) -> str:
        """The gradient (N, …, O)."""
        return self._channels_last(self.gradient, self.c.outputs)

    @cached_property
    def gradient_first(self) -> str:
        """The gradient (O, N, …)."""
        return self._channels_first(self.gradient)

    def _reshaped(self, value: str, *shape: int) -> str:
        return self.site.emit("Reshape", value, np.array(shape))

    def _joined(self, parts: list[str], axis: int) -> str:
        return self.site.emit("Concat", *parts, axis=axis) if len(parts) > 1 else parts[0]

    def _channels_first(self, x: str) -> str:
        """(N, C, …) to (C, N, …)."""
        return self.site.emit("Transpose", x, perm=[1, 0, *range(2, 2 + len(self.c.kernel))])

    def _channels_last(self, x: str, channels: int) -> str:
        """(N, C, …) to (N, …, C): from the blocked layout at once, where it comes from there."""
        maker = self.site.known.producers.get(x)
        if maker is not None and maker.op_type == "ReorderOutput" and channels % 4 == 0:
            how = {"domain": maker.domain, "channels": channels, "channels_last": 1}
            return self.site.emit("ReorderOutput", maker.input[0], **how)
        return self.site.emit("Transpose", x, perm=[0, *range(2, 2 + len(self.c.kernel)), 1])

    def _groups_first(self, x: str) -> str:
        """(N, C, …) to (groups, N, …, C / groups), in two steps that move rows."""
        c = self.c
        last = self.site.emit("Transpose", self._reshaped(x, -1, c.inputs, math.prod(c.sides)), perm=[0, 2, 1])
        images = self._reshaped(last, -1, c.group, *c.sides, c.inputs)
        return self.site.emit("Transpose", images, perm=[1, 0, *range(2, 3 + len(c.kernel))])

    def _tap_by_tap(self) -> str:
        """For each tap dY (O, N·M) times X (N·M, C): products in which nothing is transposed; for each group."""
        c, site = self.c, self.site
        groups = [c.group] if c.group > 1 else []
        rows = self._reshaped(self.gradient_first, *groups, c.outputs // c.group, -1)
        image = self._groups_first(self.x) if groups else self._channels_last(self.x, c.inputs)
        axis = 1 + len(groups)
        parts = met(site, padded(site, image, c, axis, channels_last=True), c, axis)
        products = [site.emit("MatMul", rows, self._reshaped(part, *groups, -1, c.inputs)) for part in parts]
        return self._joined([site.emit("Unsqueeze", product, np.array([-1])) for product in products], -1)

    def _in_columns(self) -> str:
        """What the taps met of X (taps·C, N·M) times dY (N·M, O), for few C."""
        c, site = self.c, self.site
        first = self._reshaped(self.x, 1, -1, *c.sides) if c.inputs == 1 else self._channels_first(self.x)
        image = padded(site, first, c, 2, channels_last=False)
        columns = self._reshaped(self._joined(met(site, image, c, 2), 0), len(c.taps) * c.inputs, -1)
        product = site.emit("MatMul", columns, self._reshaped(self.gradient_last, -1, c.outputs))
        return site.emit("Transpose", self._reshaped(product, len(c.taps), c.inputs, c.outputs), perm=[2, 1, 0])

    def _image_by_image(self) -> str:
        """For each image dY (O, M) times X (C, M) transposed, and the sum; of one tap."""
        c, site = self.c, self.site
        (part,) = met(site, padded(site, self.x, c, 2, channels_last=False), c, 2)
        rows, columns = self._reshaped(self.gradient, 0, c.outputs, -1), self._reshaped(part, 0, c.inputs, -1)
        each = site.emit("FusedMatMul", rows, columns, domain=MICROSOFT, transB=1)
        return site.emit("ReduceSum", each, np.array([0]), keepdims=0)

    def _shifted(self) -> str:
        """All images in one long row a channel, so that for each tap dY (O, N·M) is moved along X (C, N·M).

        dY is filled up with zeros to the size of X with its padding: where a row moves into the next image, these meet
        it. For few outputs and strides of 1.
        """
        c, site = self.c, self.site
        missing = [reach - result for reach, result in zip(c.reach, c.results, strict=True)]
        steps = np.append(np.cumprod(c.reach[:0:-1])[::-1], 1)
        moves = [int(np.dot(np.array(tap) * c.dilations, steps)) for tap in c.taps]
        most = max(moves)
        rows = site.emit("Pad", self.gradient_first, np.array([0] * (4 + len(missing)) + missing))
        rows = site.emit("Pad", self._reshaped(rows, c.outputs, -1), np.array([0, most, 0, 0]))
        cuts = [(np.array([most - move]), np.array([-move or LARGEST])) for move in moves]
        moved = self._joined([site.emit("Slice", rows, *cut, np.array([1])) for cut in cuts], 0)
        image = padded(site, self._channels_first(self.x), c, 2, channels_last=False)
        product = site.emit("FusedMatMul", moved, self._reshaped(image, c.inputs, -1), domain=MICROSOFT, transB=1)
        return site.emit("Transpose", self._reshaped(product, len(moves), c.outputs, c.inputs), perm=[1, 2, 0])

    def _channel_by_channel(self) -> str:
        """For each tap dY · X, both (N, …, O), added up; of one channel a group."""
        c, site = self.c, self.site
        image = padded(site, self._channels_last(self.x, c.outputs), c, 1, channels_last=True)
        products = [site.emit("Mul", part, self.gradient_last) for part in met(site, image, c, 1)]
        return site.emit("Transpose", self._added_up(products), perm=[1, 0])

    def _added_up(self, values: list[str]) -> str:
        """Each of `values` (N, …, O) added up, together (values, O); first in rows as long as one of the image is."""
        width, outputs = self.c.results[-1], self.c.outputs
        rows = [self._reshaped(value, -1, width * outputs) for value in values]
        sums = [self.site.emit("ReduceSum", each, np.array([0]), keepdims=1) for each in rows]
        apart = self._reshaped(self._joined(sums, 0), len(sums), width, outputs)
        return self.site.emit("ReduceSum", apart, np.array([1]), keepdims=0)

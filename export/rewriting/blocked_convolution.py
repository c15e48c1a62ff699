"""Rules that write convolution and its gradient for the blocked layout; see `blocked_layout`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from reverie.export.gradients.backward import MICROSOFT
from reverie.export.lowering.lowering import CannotLowerError, Rule, Site
from reverie.export.rewriting.blocked_layout import DOMAIN, plain, reordered, weave, whole_blocks


class Convolution(NamedTuple):
    """Sizes of a Conv or ConvGrad in two dimensions."""

    outputs: int
    inputs: int
    """Channels of one group."""
    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]
    group: int
    constant: bool
    """Whether its weights never change."""


def convolution(site: Site, weight: str) -> Convolution:
    """Sizes of the site's convolution. Raises CannotLowerError where they are not stated, or not of two dimensions."""
    outputs, inputs, *kernel = site.sides(weight, 0)
    if len(kernel) != 2 or site.attribute("auto_pad", "NOTSET") != "NOTSET":
        raise CannotLowerError("it must have two dimensions and give its padding")
    return Convolution(
        outputs,
        inputs,
        kernel,
        site.attribute("strides", [1, 1]),
        site.attribute("dilations", [1, 1]),
        site.attribute("pads", [0, 0, 0, 0]),
        site.attribute("group", 1),
        weight in site.known.constants,
    )


def weight_gradients(site: Site) -> tuple[str, ...]:
    """The gradients of weight and bias that a ConvGrad is asked for, by another one that computes these alone."""
    wanted = [bool(output) for output in site.node.output[1:]]
    if not any(wanted):
        return tuple("" for _ in wanted)
    attributes = {a.name: site.attribute(a.name) for a in site.node.attribute}
    inputs = [site.input(i) for i in range(3)]
    return site.emit_several("ConvGrad", [False, *wanted], *inputs, domain=MICROSOFT, **attributes)[1:]


class Part(NamedTuple):
    """Along one axis, what computes every stride-th value of an input's gradient: taps of the kernel and padding."""

    taps: tuple[int, ...]
    before: int
    after: int


def parts(side: int, outputs: int, kernel: int, stride: int, dilation: int, before: int) -> list[Part]:
    """For an input of `side` values that were convolved to `outputs`, the parts that weave its gradient.

    Input h meets tap k at output (h + before - k·dilation) / stride, where that is whole. So input h = h₀ + i·stride
    gets taps r, r + stride, ... with r = (h₀ + before) mod stride, the last of them first. Each part has as many
    values as the longest. Raises CannotLowerError where a part has no tap or a negative padding.
    """
    found = []
    count = -(-side // stride)
    for first in range(stride):
        offset = (first + before) % stride if stride > 1 else 0
        taps = tuple(range(offset, kernel, stride))[::-1]
        meets = (first + before - offset) // stride
        reach = dilation * (len(taps) - 1)
        part = Part(taps, reach - meets, meets + count - outputs)
        if not taps or min(part.before, part.after) < 0 or (stride > 1 and dilation > 1):
            raise CannotLowerError("such a stride, dilation and padding")
        found.append(part)
    return found


class BlockedConvolution:
    """The rules for one block size B."""

    def __init__(self, block: int) -> None:
        self.block = block

    def rules(self) -> dict[str, Rule]:
        """Operator → its rule."""
        return {"Conv": self.conv, "ConvGrad": self.conv_grad}

    def conv(self, site: Site) -> tuple[str, ...]:
        """Conv in the blocked layout; one whose inputs have fewer channels than a block reads them as they are."""
        x, weight, bias = (site.input(i) for i in range(3))
        c = convolution(site, weight)
        y = self.convolved(
            site,
            x,
            self.filters(site, site.emit("Reshape", weight, np.array([c.outputs, c.inputs, -1])), c, None),
            c,
            bias,
            kernel_shape=c.kernel,
            strides=c.strides,
            dilations=c.dilations,
            pads=c.pads,
        )
        return (plain(site, y, c.outputs),)

    def convolved(self, site: Site, x: str, filters: str, c: Convolution, bias: str = "", **attributes: Any) -> str:
        """Plain `x` convolved with `filters`, blocked."""
        self.require(c)
        inputs = [x if c.inputs < self.block and c.group == 1 else reordered(site, x), filters]
        if bias:
            missing = whole_blocks(c.outputs, self.block) - c.outputs
            inputs.append(site.emit("Pad", bias, np.array([0, missing])) if missing else bias)
        return site.emit("Conv", *inputs, domain=DOMAIN, group=c.group, **attributes)

    def require(self, c: Convolution) -> None:
        """Raise CannotLowerError where the kernels do not take such channels."""
        by_channel = c.group == c.outputs and c.inputs == 1 and c.outputs % self.block == 0
        if c.group != 1 and not by_channel:
            raise CannotLowerError("in groups of several channels")
        if c.inputs >= self.block and c.inputs % 4:
            raise CannotLowerError("a number of channels that is no multiple of 4")

    def filters(self, site: Site, weight: str, c: Convolution, taps: list[int] | None) -> str:
        """Weights (outputs, inputs, taps) of `c` as its kernel reads them, those of `taps` alone where given.

        That is (O/B, I/B, taps, B of I, B of O), or (O/B, I, taps, B of O) for inputs that are not blocked.
        """
        self.require(c)
        block, outputs = self.block, whole_blocks(c.outputs, self.block)
        inputs = whole_blocks(c.inputs, block) if c.inputs >= block else c.inputs
        count = c.kernel[0] * c.kernel[1]
        if (outputs, inputs) != (c.outputs, c.inputs):
            weight = site.emit("Pad", weight, np.array([0, 0, 0, outputs - c.outputs, inputs - c.inputs, 0]))
        within = block if inputs >= block else 1
        if c.constant:  # the engine computes this once, which it does with operators of its plain layout alone
            weight = weight if taps is None else site.emit("Gather", weight, np.array(taps), axis=2)
            apart = site.emit("Reshape", weight, np.array([outputs // block, block, inputs // within, within, count]))
            filters = site.emit("Transpose", apart, perm=[0, 2, 4, 3, 1])
            return site.emit("Reshape", filters, np.array([outputs, inputs, *c.kernel]))
        # To take B rows of values to values of B rows is what the change of layout does, and fast.
        rows = site.emit("Reshape", weight, np.array([outputs // block, block, 1, -1]))
        filters = site.emit("Reshape", reordered(site, rows), np.array([outputs // block, inputs, -1, block]))
        if taps is not None:
            filters = site.emit("Gather", filters, np.array(taps), axis=2)
        if within > 1:
            apart = site.emit("Reshape", filters, np.array([outputs // block, inputs // block, block, count, block]))
            filters = site.emit("Transpose", apart, perm=[0, 1, 3, 2, 4])
        return site.emit("Reshape", filters, np.array([outputs, inputs, *c.kernel]))

    def conv_grad(self, site: Site) -> tuple[str, ...]:
        """The input's gradient by blocked convolutions with the weights turned round, one for each stride's remainder.

        The weights' gradient stays.
        """
        if not site.node.output[0]:
            raise CannotLowerError("without its input's gradient")
        gradient, x, weight = (site.input(i) for i in range(3))
        c, sides, outputs = convolution(site, weight), site.sides(x, 2), site.sides(gradient, 2)
        rows, columns = (
            parts(sides[axis], outputs[axis], c.kernel[axis], c.strides[axis], c.dilations[axis], c.pads[axis])
            for axis in (0, 1)
        )
        of_channels = (c.inputs, c.outputs) if c.group == 1 else (c.outputs, c.inputs)
        turned = c._replace(outputs=of_channels[0], inputs=of_channels[1])
        flat = site.emit("Reshape", weight, np.array([c.outputs, c.inputs, -1]))
        flat = site.emit("Transpose", flat, perm=[1, 0, 2]) if c.group == 1 else flat
        woven: list[list[str]] = []
        for row in rows:
            woven.append([])
            for column in columns:
                kernel = (len(row.taps), len(column.taps))
                taps = [i * c.kernel[1] + j for i in row.taps for j in column.taps]
                part = turned._replace(kernel=kernel)
                woven[-1].append(
                    self.convolved(
                        site,
                        gradient,
                        self.filters(site, flat, part, taps),
                        part,
                        kernel_shape=kernel,
                        dilations=c.dilations,
                        pads=(row.before, column.before, row.after, column.after),
                    )
                )
        channels = turned.outputs
        sizes = tuple(-(-side // stride) for side, stride in zip(sides, c.strides, strict=True))
        return (plain(site, weave(site, self.block, woven, channels, sizes, sides), channels), *weight_gradients(site))

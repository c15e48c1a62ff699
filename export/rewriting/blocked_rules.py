"""Rules that write convolution and pooling, and their gradients, for the layout that the engine's fast kernels take.

In the blocked layout the channels (C) of an image tensor (N, C, H, W) lie in blocks of B, innermost: in memory it is
(N, C/B, H, W, B), with zeros after the last channel, while its nominal shape stays (N, C, H, W). B is the number of
floats in the processor's vector registers. The engine itself chooses these kernels where weights never change; here
they are written out, so that they also serve weights that are trained. Values change their layout around each of them;
`blocked.py` takes away what cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from reverie.export.lowering.lowering import CannotLowerError, Rule, Site
from reverie.export.rewriting.faster_rules import STEEP

Values = tuple[str, ...]

DOMAIN = "com.microsoft.nchwc"


def reordered(site: Site, x: str) -> str:
    """`x` (N, C, H, W), C a multiple of 4, in the blocked layout."""
    return site.emit("ReorderInput", x, domain=DOMAIN)


def plain(site: Site, x: str, channels: int) -> str:
    """Blocked `x` in the plain layout."""
    return site.emit("ReorderOutput", x, domain=DOMAIN, channels=channels)


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


def weight_gradients(site: Site) -> Values:
    """The gradients of weight and bias that a ConvGrad is asked for, by another one that computes these alone."""
    wanted = [bool(output) for output in site.node.output[1:]]
    if not any(wanted):
        return tuple("" for _ in wanted)
    attributes = {a.name: site.attribute(a.name) for a in site.node.attribute}
    inputs = [site.input(i) for i in range(3)]
    return site.emit_several("ConvGrad", [False, *wanted], *inputs, domain="com.microsoft", **attributes)[1:]


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


class Blocked:
    """The rules for one block size B, and what those of gradients need from those of the operators themselves."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.winners: dict[str, tuple[str, str, str]] = {}
        """Of each max pooling, by the name of its index: 1 where the lower, upper right and lower right value won."""

    def rules(self) -> dict[str, Rule]:
        """Operator → its rule."""
        return {
            "Conv": self.conv,
            "ConvGrad": self.conv_grad,
            "MaxPool": self.max_pool,
            "MaxPoolGrad": self.max_pool_grad,
        }

    def whole(self, channels: int) -> int:
        """`channels` rounded up to whole blocks."""
        return -(-channels // self.block) * self.block

    def conv(self, site: Site) -> Values:
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
            missing = self.whole(c.outputs) - c.outputs
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
        block, outputs = self.block, self.whole(c.outputs)
        inputs = self.whole(c.inputs) if c.inputs >= block else c.inputs
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

    def conv_grad(self, site: Site) -> Values:
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
        return (plain(site, self.weave(site, woven, channels, sizes, sides), channels), *weight_gradients(site))

    def weave(
        self, site: Site, woven: list[list[str]], channels: int, sizes: tuple[int, ...], sides: tuple[int, ...]
    ) -> str:
        """Blocked tensors of `sizes`, as rows and columns, interleaved and cut or filled up to `sides`."""
        block, (high, wide) = self.block, sizes
        down, across = len(woven), len(woven[0])
        if down == across == 1:
            return woven[0][0]
        lines = []
        for row in woven:
            columns = [site.emit("Reshape", x, np.array([-1, wide, 1, block])) for x in row]
            line = site.emit("Concat", *columns, axis=2) if across > 1 else columns[0]
            lines.append(site.emit("Reshape", line, np.array([-1, high, 1, wide * across * block])))
        whole = site.emit("Concat", *lines, axis=2) if down > 1 else lines[0]
        whole = site.emit("Reshape", whole, np.array([-1, high * down, wide * across * block]))
        ends = np.array([sides[0], sides[1] * block])
        missing = ends - [high * down, wide * across * block]
        if (missing < 0).any():
            whole = site.emit("Slice", whole, np.array([0, 0]), ends, np.array([1, 2]))
        elif missing.any():
            whole = site.emit("Pad", whole, np.array([0, 0, 0, 0, *missing]))
        return site.emit("Reshape", whole, np.array([-1, self.whole(channels), *sides]))

    def quarters(self, site: Site) -> tuple[int, int, int]:
        """Channels, height and width of what a 2x2 max pooling with a stride of 2 takes. Raises CannotLowerError."""
        attributes = {a.name: site.attribute(a.name) for a in site.node.attribute}
        usual = {"kernel_shape": [2, 2], "strides": [2, 2]}
        if any(attributes.get(name) != value for name, value in usual.items()):
            raise CannotLowerError("other than 2 by 2")
        if (
            any(attributes.get("pads", []))
            or attributes.get("ceil_mode", 0)
            or {*attributes.get("dilations", [])} - {1}
        ):
            raise CannotLowerError("with padding")
        channels, height, width = site.sides(site.input(0))
        if channels % self.block:
            raise CannotLowerError("of a number of channels that is no multiple of the block")
        return channels, height, width

    def max_pool(self, site: Site) -> Values:
        """The largest of four quarters; instead of an index, which of them won, the first where several are equal."""
        channels, height, width = self.quarters(site)
        high, wide, block = height // 2, width // 2, self.block
        x = reordered(site, site.input(0))
        if height % 2 or width % 2:
            x = site.emit("Reshape", x, np.array([-1, height, width * block]))
            cut = np.array([0, 0]), np.array([2 * high, 2 * wide * block]), np.array([1, 2])
            x = site.emit("Slice", x, *cut)
        x = site.emit("Reshape", x, np.array([-1, 2, wide, 2 * block]))
        halves = partial(site.emit_several, "Split", (True, True), num_outputs=2)
        upper, lower = halves(x, axis=1)
        (left, right), (lower_left, lower_right) = halves(upper, axis=3), halves(lower, axis=3)
        best_upper, best_lower = site.emit("Max", left, right), site.emit("Max", lower_left, lower_right)
        best = site.emit("Max", best_upper, best_lower)
        if len(site.node.output) > 1 and site.node.output[1]:
            pairs = (best_lower, best_upper), (right, left), (lower_right, lower_left)
            self.winners[site.node.output[1]] = tuple(  # type: ignore[assignment]
                site.emit("HardSigmoid", site.emit("Sub", one, other), alpha=STEEP, beta=0.0) for one, other in pairs
            )
        best = site.emit("Reshape", best, np.array([-1, channels, high, wide]))
        return (plain(site, best, channels),)

    def max_pool_grad(self, site: Site) -> Values:
        """The gradient, to whichever of the four won."""
        if site.input(1) not in self.winners:
            raise CannotLowerError("its pooling stays")
        pooling = Site(site.known.producers[site.input(1)], site.known)
        channels, height, width = self.quarters(pooling)
        high, wide = height // 2, width // 2
        below, right_above, right_below = self.winners[site.input(1)]
        gradient = site.emit("Reshape", reordered(site, site.input(0)), np.array([-1, 1, wide, self.block]))
        lower = site.emit("Mul", gradient, below)
        upper = site.emit("Sub", gradient, lower)
        right, lower_right = site.emit("Mul", upper, right_above), site.emit("Mul", lower, right_below)
        left, lower_left = site.emit("Sub", upper, right), site.emit("Sub", lower, lower_right)
        woven = self.weave(site, [[left, right], [lower_left, lower_right]], channels, (high, wide), (height, width))
        return (plain(site, woven, channels),)

"""Sizes of a convolution in any number of dimensions, and what each of its taps meets of the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reverie.export.lowering.lowering import CannotLowerError, Site

Sizes = Sequence[int]
"""A number for each axis of the image."""


class Convolution(NamedTuple):
    """Sizes of a Conv and its gradient: `outputs` channels of `inputs` channels each, in groups."""

    outputs: int
    inputs: int
    group: int
    kernel: Sizes
    strides: Sizes
    dilations: Sizes
    sides: Sizes
    """Of the input."""
    before: Sizes
    after: Sizes
    """Padding."""

    @property
    def spans(self) -> list[int]:
        """What the kernel covers of the input, with its dilation."""
        return [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    @property
    def results(self) -> list[int]:
        """Sizes of the output."""
        each = zip(self.sides, self.before, self.after, self.spans, self.strides, strict=True)
        return [(side + before + after - span) // stride + 1 for side, before, after, span, stride in each]

    @property
    def reach(self) -> list[int]:
        """How much of the padded input the taps meet."""
        each = zip(self.results, self.strides, self.spans, strict=True)
        return [(result - 1) * stride + span for result, stride, span in each]

    @property
    def taps(self) -> list[tuple[int, ...]]:
        """Places in the kernel, in the order in which the weights lie."""
        return list(np.ndindex(*self.kernel))


def convolution(site: Site, x: str, weight: str) -> Convolution:
    """Sizes of the site's convolution of `x`. Raises CannotLowerError."""
    outputs, inputs, *kernel = site.sides(weight, 0)
    sides, rank = site.sides(x, 2), len(kernel)
    strides, dilations = site.attribute("strides", [1] * rank), site.attribute("dilations", [1] * rank)
    pads, padded = list(site.attribute("pads", [0] * 2 * rank)), site.attribute("auto_pad", "NOTSET")
    if padded not in {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"}:
        raise CannotLowerError("it must give its padding")
    if padded.startswith("SAME"):
        pads = _as_large(sides, kernel, strides, dilations, at_end=padded == "SAME_UPPER")
    return Convolution(
        outputs, inputs, site.attribute("group", 1), kernel, strides, dilations, sides, pads[:rank], pads[rank:]
    )


def _as_large(sides: Sizes, kernel: Sizes, strides: Sizes, dilations: Sizes, *, at_end: bool) -> list[int]:
    """Padding for an output of side / stride, rounded up; of an odd amount, more `at_end` or at the beginning."""
    each = zip(sides, kernel, strides, dilations, strict=True)
    whole = [max((-(-side // s) - 1) * s + d * (k - 1) + 1 - side, 0) for side, k, s, d in each]
    less = [amount // 2 for amount in whole]
    more = [amount - half for amount, half in zip(whole, less, strict=True)]
    return [*less, *more] if at_end else [*more, *less]


def padded(site: Site, x: str, c: Convolution, axis: int, *, channels_last: bool) -> str:
    """`x`, whose image begins at `axis`, with zeros around as far as the taps reach."""
    after = [max(reach - side - before, 0) for reach, side, before in zip(c.reach, c.sides, c.before, strict=True)]
    ahead, behind = [0] * axis, [0] * channels_last
    amounts = [*ahead, *c.before, *behind, *ahead, *after, *behind]
    return site.emit("Pad", x, np.array(amounts)) if any(amounts) else x


def met(site: Site, x: str, c: Convolution, axis: int) -> list[str]:
    """For each tap what it meets of the padded `x`, whose image begins at `axis`."""
    axes = np.arange(axis, axis + len(c.kernel))
    parts = []
    for tap in c.taps:
        first = np.array(tap) * c.dilations
        last = first + (np.array(c.results) - 1) * c.strides + 1
        whole = not first.any() and list(last) == c.reach and not (np.array(c.strides) > 1).any()
        parts.append(x if whole else site.emit("Slice", x, first, last, axes, np.array(c.strides)))
    return parts

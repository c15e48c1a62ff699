"""Rules that write 2x2 max pooling and its gradient for the blocked layout; see `blocked_layout`."""

from __future__ import annotations

from functools import partial

import numpy as np

from reverie.export.gradients.elementwise import STEEP
from reverie.export.lowering.lowering import CannotLowerError, Rule, Site
from reverie.export.rewriting.blocked_layout import plain, reordered, weave


class BlockedPooling:
    """The rules for one block size B, and what that of the gradient needs from that of the pooling itself."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.winners: dict[str, tuple[str, str, str]] = {}
        """Of each max pooling, by the name of its index: 1 where the lower, upper right and lower right value won."""

    def rules(self) -> dict[str, Rule]:
        """Operator → its rule."""
        return {"MaxPool": self.max_pool, "MaxPoolGrad": self.max_pool_grad}

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

    def max_pool(self, site: Site) -> tuple[str, ...]:
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

    def max_pool_grad(self, site: Site) -> tuple[str, ...]:
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
        woven = weave(
            site, self.block, [[left, right], [lower_left, lower_right]], channels, (high, wide), (height, width)
        )
        return (plain(site, woven, channels),)

"""Rules that write nodes of a gradient graph in operators that compute the same in less time, on any processor.

What the engine runs element by element (a leaky ReLU, transposes that end in another axis) is written in operators that
it runs in vectors. Each rule gives the same numbers, to rounding. What each gains: `docs/speed.md`.
"""

from __future__ import annotations

import numpy as np

from reverie.export.lowering.lowering import Rule, Site

Values = tuple[str, ...]

WIDEST_WEAVE = 128
"""Length of rows up to which a product with a permutation is faster than moving the values one by one."""


def max_pool(site: Site) -> Values | None:
    """Before the ReLU that it follows instead of after: ReLU on a fraction of the values.

    Both rise with their input, so that they can change places; where no value of a window is positive, ReLU stops the
    gradient, whichever of them the pooling takes.
    """
    relu = site.known.producers.get(site.input(0))
    if relu is None or relu.op_type != "Relu" or site.known.uses[site.input(0)] > 1:
        return None
    attributes = {a.name: site.attribute(a.name) for a in site.node.attribute}
    return (site.emit("Relu", site.emit("MaxPool", relu.input[0], **attributes)),)


def leaky_relu(site: Site) -> Values | None:
    """The larger of x and α·x, for α between 0 and 1; behind a Conv it stays, where the engine fuses them."""
    x, alpha = site.input(0), site.attribute("alpha", 0.01)
    before = site.known.producers.get(x)
    if not 0 <= alpha <= 1 or (before is not None and before.op_type == "Conv" and site.known.uses[x] == 1):
        return None
    return (site.emit("Max", x, site.emit("Mul", x, alpha)),)


def transpose(site: Site) -> Values | None:
    """Where the last axis becomes another one (pixel shuffle and its gradient): rows times a permutation matrix.

    The transpose that is left moves whole rows.
    """
    x, order = site.input(0), list(site.attribute("perm", []))
    last = len(order) - 1
    if len(order) < 4 or order[0] != 0 or order[-1] == last or _moves_one_axis(order):
        return None
    sides = [-1, *site.sides(x)]
    if order[-2] == last:
        # (…, a, …, b) to (…, b, a): move the rows of b next to each other, then weave them.
        first, second = sides[order[-1]], sides[last]
        before, after = [*order[:-2], order[-1], order[-2]], None
    elif order[-1] == last - 1:
        # (…, a, b) to (…, b, …, a): weave, then move the rows.
        first, second = sides[last - 1], sides[last]
        swapped = {last: last - 1, last - 1: last}
        before, after = None, [swapped.get(axis, axis) for axis in order]
    else:
        return None
    if first * second > WIDEST_WEAVE:
        return None
    rows = site.emit("Transpose", x, perm=before) if before else x
    rows = site.emit("Reshape", rows, np.array([-1, first * second]))
    woven = site.emit("MatMul", rows, weaving(first, second))
    if after is None:
        return (site.emit("Reshape", woven, np.array([sides[axis] for axis in order])),)
    apart = site.emit("Reshape", woven, np.array([*sides[:-2], second, first]))
    return (site.emit("Transpose", apart, perm=after),)


def _moves_one_axis(order: list[int]) -> bool:
    """Whether one axis is taken out and put in elsewhere, which the engine does fast."""
    rest = [[axis for axis in order if axis != moved] for moved in order]
    return any(axes == sorted(axes) for axes in rest)


def weaving(first: int, second: int) -> np.ndarray:
    """The permutation matrix that takes rows of (first, second) values to (second, first)."""
    order = np.arange(first * second).reshape(first, second).T.ravel()
    return np.ascontiguousarray(np.eye(first * second, dtype=np.float32)[order].T)


BEFORE_GRADIENT: dict[str, Rule] = {"MaxPool": max_pool}
"""Operator → its rule, for a graph whose gradient is not built yet."""

RULES: dict[str, Rule] = {
    "LeakyRelu": leaky_relu,
    "Transpose": transpose,
}
"""Operator → its rule, for any graph."""

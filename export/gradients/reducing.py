"""Gradients of operators that add up, average or compare along axes."""

from __future__ import annotations

import math

import numpy as np

from reverie.export.gradients.backward import Backward, GradientRule, Values


def _axes(site: Backward) -> list[int]:
    """Which axes a reduction takes away; none where an empty list means so."""
    rank = site.rank(site.input(0))
    given = site.constant_input(1).ravel().tolist() if site.input(1) else []
    if given:
        return sorted(axis % rank for axis in given)
    return [] if site.attribute("noop_with_empty_axes", 0) else list(range(rank))


def _kept(site: Backward, value: str, axes: list[int]) -> str:
    """`value`, in the shape of the output, with an axis of one entry for each that was taken away."""
    return value if site.attribute("keepdims", 1) or not axes else site.emit("Unsqueeze", value, np.array(axes))


def reduce_sum(site: Backward) -> Values:
    """Dy repeated."""
    axes = _axes(site)
    return (site.repeated(_kept(site, site.gradient, axes), site.input(0), axes),)


def reduce_mean(site: Backward) -> Values:
    """Dy / the number of values, repeated."""
    axes, sides = _axes(site), site.shape(site.input(0))
    fixed = [side for axis in axes if (side := sides[axis]) is not None]
    if len(fixed) == len(axes):
        part = site.emit("Mul", site.gradient, 1 / math.prod(fixed))
    else:
        whole, left = (site.emit("Size", name) for name in (site.input(0), site.output))
        count = site.emit("Cast", site.emit("Div", whole, left), to=site.kind)
        part = site.emit("Div", site.gradient, count)
    return (site.repeated(_kept(site, part, axes), site.input(0), axes),)


def global_average_pool(site: Backward) -> Values:
    """Dy / the number of values of a channel, repeated."""
    sides = site.sides(site.input(0), 2)
    part = site.emit("Mul", site.gradient, 1 / math.prod(sides))
    return (site.repeated(part, site.input(0), list(range(2, 2 + len(sides)))),)


def reduce_extreme(site: Backward) -> Values:
    """To the values that equal the result, in equal shares."""
    x, axes = site.input(0), _axes(site)
    equal = site.emit("Equal", x, _kept(site, site.output, axes))
    equal = site.emit("Cast", equal, to=site.kind)
    count = site.emit("ReduceSum", equal, np.array(axes), keepdims=1)
    share = site.emit("Div", _kept(site, site.gradient, axes), count)
    return (site.emit("Mul", share, equal),)


def reduce_l2(site: Backward) -> Values:
    """dy·x/y, 0 where y is."""
    axes = _axes(site)
    y, gradient = (_kept(site, value, axes) for value in (site.output, site.gradient))
    share = site.emit("Where", site.emit("Equal", y, 0.0), 0.0, site.emit("Div", gradient, y))
    return (site.emit("Mul", site.input(0), share),)


def softmax(site: Backward) -> Values:
    """y·(dy - Σ dy·y)."""
    y = site.output
    axis = np.array([site.attribute("axis", -1)])
    total = site.emit("ReduceSum", site.emit("Mul", site.gradient, y), axis, keepdims=1)
    return (site.emit("Mul", y, site.emit("Sub", site.gradient, total)),)


def log_softmax(site: Backward) -> Values:
    """Dy - e^y·Σ dy."""
    total = site.emit("ReduceSum", site.gradient, np.array([site.attribute("axis", -1)]), keepdims=1)
    return (site.emit("Sub", site.gradient, site.emit("Mul", site.emit("Exp", site.output), total)),)


def cumulative_sum(site: Backward) -> Values:
    """The sum of dy from the other end."""
    how = {"exclusive": site.attribute("exclusive", 0), "reverse": 1 - site.attribute("reverse", 0)}
    return (site.emit("CumSum", site.gradient, site.input(1), **how),)


REDUCING: dict[str, GradientRule] = {
    "CumSum": cumulative_sum,
    "GlobalAveragePool": global_average_pool,
    "LogSoftmax": log_softmax,
    "ReduceL2": reduce_l2,
    "ReduceMax": reduce_extreme,
    "ReduceMean": reduce_mean,
    "ReduceMin": reduce_extreme,
    "ReduceSum": reduce_sum,
    "Softmax": softmax,
}
"""Operator → its rule."""

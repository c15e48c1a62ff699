"""Gradients of operators that move values: each value's gradient goes back to where the value came from."""

from __future__ import annotations

import numpy as np

from reverie.export.gradients.backward import LARGEST, Backward, GradientRule, Values
from reverie.export.lowering.lowering import CannotLowerError

Selection = dict[int, np.ndarray]
"""Axis → which of its places were taken, in order."""


def reshape(site: Backward) -> Values:
    """Dy in the shape of x."""
    return (site.reshaped(site.gradient, site.input(0)),)


def expand(site: Backward) -> Values:
    """Dy added up over what was repeated."""
    return (site.summed(site.gradient, site.input(0)),)


def transpose(site: Backward) -> Values:
    """Dy with its axes back in their order."""
    rank = site.rank(site.input(0))
    order = site.attribute("perm", list(range(rank))[::-1])
    return (site.emit("Transpose", site.gradient, perm=np.argsort(order).tolist()),)


def concat(site: Backward) -> Values:
    """A part of dy for each input."""
    axis = site.attribute("axis") % site.rank(site.output)
    sides = [site.shape(name)[axis] for name in site.node.input]
    fixed = [side for side in sides if side is not None]
    if len(fixed) == len(sides):
        ends = np.cumsum(fixed)
        return [
            site.emit("Slice", site.gradient, np.array([end - side]), np.array([end]), np.array([axis]))
            if site.wants(i)
            else ""
            for i, (end, side) in enumerate(zip(ends, fixed, strict=True))
        ]
    sizes = [site.emit("Shape", name, start=axis, end=axis + 1) for name in site.node.input]
    lengths = site.emit("Concat", *sizes, axis=0)
    return site.emit_several("Split", [True] * len(sides), site.gradient, lengths, axis=axis)


def split(site: Backward) -> Values:
    """The gradients of the parts side by side, zeros for one that has none."""
    parts = [
        gradient or site.emit("ConstantOfShape", site.shape_of(output))
        for gradient, output in zip(site.gradients, site.node.output, strict=True)
    ]
    return (site.emit("Concat", *parts, axis=site.attribute("axis", 0)),)


def tile(site: Backward) -> Values:
    """Dy with an axis for the repetitions of each axis, added up over these."""
    repeats, sides = site.constant_input(1).tolist(), site.shape(site.input(0))
    apart: list[int] = []
    axes: list[int] = []
    for repeat, side in zip(repeats, sides, strict=True):
        if repeat != 1:
            axes.append(len(apart))
            apart.append(repeat)
        apart.append(-1 if side is None else side)
    if apart.count(-1) > 1:
        raise CannotLowerError("only its batch size may be free")
    if not axes:
        return (site.gradient,)
    return (site.emit("ReduceSum", site.emit("Reshape", site.gradient, np.array(apart)), np.array(axes), keepdims=0),)


def pad(site: Backward) -> Values:
    """Dy without what was padded."""
    site.refuse(2, "padding")
    if site.attribute("mode", "constant") != "constant":
        raise CannotLowerError("it must pad with a constant")
    axes = (site.input(3),) if site.input(3) else ()
    filling = (site.emit("Constant", value_float=0.0), *axes) if axes else ()
    return (site.emit("Pad", site.gradient, -site.constant_input(1), *filling),)


def slice_(site: Backward) -> Values:
    """Dy with zeros around, and between where the steps are; also where an order was turned round."""
    sides = site.shape(site.input(0))
    along = site.constant_input(3).ravel() % len(sides) if site.input(3) else np.arange(site.constant_input(1).size)
    taken: Selection = {}
    for place, axis in enumerate(along.tolist()):
        first, last, step = (int(site.constant_input(i).ravel()[place]) if site.input(i) else 1 for i in (1, 2, 4))
        side = sides[axis]
        if side is not None:
            taken[axis] = np.arange(side)[first:last:step]
        elif (first, step) != (0, 1) or last < LARGEST:
            return (_scattered(site, _places(site, axis, (first, last, step)), axis),)
    return (_put_back(site, site.gradient, taken),)


def _places(site: Backward, axis: int, cut: tuple[int, int, int]) -> str:
    """What a Slice takes of an axis whose size is not known before."""
    if len(site.constant_input(1).ravel()) > 1:
        raise CannotLowerError("it must cut the batch alone")
    side = site.emit("Shape", site.input(0), start=axis, end=axis + 1)
    every = site.emit("Range", np.array(0), site.emit("Squeeze", side), np.array(1))
    first, last, step = (np.array([value]) for value in cut)
    return site.emit("Slice", every, first, last, np.array([0]), step)


def gather(site: Backward) -> Values:
    """Dy where the values came from, added up where one was taken several times."""
    x, axis = site.input(0), site.attribute("axis", 0) % site.rank(site.input(0))
    sides, indices = site.shape(x), site.known.constants.get(site.input(1))
    side = sides[axis]
    if indices is None or side is None or sides.count(None) > 1:
        return (_scattered(site, site.input(1), axis),)
    gradient = site.gradient
    if indices.ndim != 1:
        shape = [-1 if size is None else size for size in sides]
        shape[axis] = indices.size
        gradient = site.emit("Reshape", gradient, np.array(shape))
    return (_put_back(site, gradient, {axis: indices.ravel() % side}),)


def _put_back(site: Backward, gradient: str, taken: Selection) -> str:
    """The gradient of the node's input, of which `gradient` has the places `taken`; the others are 0."""
    sides = site.shape(site.input(0))
    before, after = [0] * len(sides), [0] * len(sides)
    for axis, places in taken.items():
        side = sides[axis] or 0
        if places.size and (np.diff(places) == 1).all():
            before[axis], after[axis] = int(places[0]), side - 1 - int(places[-1])
        else:
            gradient = _gathered(site, gradient, axis, places, side)
    if any(before + after):
        gradient = site.emit("Pad", gradient, np.array(before + after))
    return gradient


def _gathered(site: Backward, gradient: str, axis: int, places: np.ndarray, side: int) -> str:
    """For each of `side` places what was taken from there, or a zero put at the end; once for each time it was."""
    rank = site.rank(site.input(0))
    zero = np.zeros(2 * rank, np.int64)
    zero[rank + axis] = 1
    padded = site.emit("Pad", gradient, zero)
    before = np.array([(places[:i] == place).sum() for i, place in enumerate(places)], np.int64)
    each = []
    for time in range(int(before.max(initial=0)) + 1):
        sources = np.full(side, len(places))
        sources[places[before == time]] = np.flatnonzero(before == time)
        each.append(site.emit("Gather", padded, sources, axis=axis))
    return site.emit("Sum", *each) if len(each) > 1 else each[0]


def _scattered(site: Backward, places: str, axis: int) -> str:
    """The gradient of the node's input where places or sizes are known only as the graph runs."""
    x = site.input(0)
    rank, extent = site.rank(x), site.rank(places) if places in site.known.shapes else 1
    zeros, gradient = site.emit("ConstantOfShape", site.shape_of(x)), site.gradient
    others = [other for other in range(rank) if other != axis]
    if axis:
        zeros = site.emit("Transpose", zeros, perm=[axis, *others])
        of_places = list(range(axis, axis + extent))
        rest = [other for other in range(rank - 1 + extent) if other not in of_places]
        gradient = site.emit("Transpose", gradient, perm=[*of_places, *rest])
    total = site.emit("ScatterND", zeros, site.emit("Unsqueeze", places, np.array([-1])), gradient, reduction="add")
    return site.emit("Transpose", total, perm=np.argsort([axis, *others]).tolist()) if axis else total


MOVING: dict[str, GradientRule] = {
    "Concat": concat,
    "Expand": expand,
    "Flatten": reshape,
    "Gather": gather,
    "Pad": pad,
    "Reshape": reshape,
    "Slice": slice_,
    "Split": split,
    "Squeeze": reshape,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": reshape,
}
"""Operator → its rule."""

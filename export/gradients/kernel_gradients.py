"""The gradient of a convolution's weights in the fastest form for its sizes, and that of its bias.

For each tap it is the sum over images and places of dY times what the tap met of X. The engine multiplies matrices many
times faster than it does anything else here, so that all is to arrange the two into matrices at little cost. Below, N
images of C channels (in all groups together) give O channels of M places; what each form gains: `docs/speed.md`.
"""

from __future__ import annotations

import numpy as np

from reverie.export.gradients.backward import MICROSOFT
from reverie.export.gradients.convolution import Convolution, met, padded
from reverie.export.lowering.lowering import Site

FEW = 8
"""Channels below which a matrix has too few rows for fast products."""

ALL = 2**31 - 1


def bias_gradient(site: Site, gradient: str, c: Convolution) -> str:
    """DY (N, O, …) added up to (O,)."""
    return site.emit("ReduceSum", gradient, np.array([0, *range(2, 2 + len(c.kernel))]), keepdims=0)


def kernel_gradient(site: Site, gradient: str, x: str, c: Convolution) -> str:
    """From dY (N, O, …) and X (N, C, …) to the weights' (O, C / groups, …)."""
    plain = all(stride == 1 for stride in c.strides)
    if c.group > 1:
        flat = _shifted(site, gradient, x, c) if plain else _by_group(site, gradient, x, c)
    elif c.inputs == 1:
        flat = _side_by_side(site, gradient, x, c)
    elif c.outputs < FEW and plain:
        flat = _shifted(site, gradient, x, c)
    else:
        flat = _tap_by_tap(site, gradient, x, c)
    return site.emit("Reshape", flat, np.array([c.outputs, c.inputs, *c.kernel]))


def _channels_first(site: Site, x: str, c: Convolution) -> str:
    """(N, C, …) to (C, N, …)."""
    return site.emit("Transpose", x, perm=[1, 0, *range(2, 2 + len(c.kernel))])


def _channels_last(site: Site, x: str, c: Convolution) -> str:
    """(N, C, …) to (N, …, C): from the blocked layout at once, where it comes from there."""
    maker = site.known.producers.get(x)
    if maker is not None and maker.op_type == "ReorderOutput" and c.inputs % 4 == 0:
        how = {"domain": maker.domain, "channels": c.inputs, "channels_last": 1}
        return site.emit("ReorderOutput", maker.input[0], **how)
    return site.emit("Transpose", x, perm=[0, *range(2, 2 + len(c.kernel)), 1])


def _tap_by_tap(site: Site, gradient: str, x: str, c: Convolution) -> str:
    """DY (O, N·M) times, for each tap, X (N·M, C): products in which nothing is transposed."""
    rows = site.emit("Reshape", _channels_first(site, gradient, c), np.array([c.outputs, -1]))
    image = padded(site, _channels_last(site, x, c), c, 1)
    columns = [site.emit("Reshape", part, np.array([-1, c.inputs])) for part in met(site, image, c, 1)]
    each = [site.emit("Unsqueeze", site.emit("MatMul", rows, column), np.array([2])) for column in columns]
    return site.emit("Concat", *each, axis=2) if len(each) > 1 else each[0]


def _side_by_side(site: Site, gradient: str, x: str, c: Convolution) -> str:
    """Of one channel: for each image, dY (O, M) times what all taps met (taps, M) transposed; their sum."""
    parts = met(site, padded(site, x, c, 2), c, 2)
    columns = site.emit("Reshape", site.emit("Concat", *parts, axis=1), np.array([0, len(parts), -1]))
    rows = site.emit("Reshape", gradient, np.array([0, c.outputs, -1]))
    each = site.emit("FusedMatMul", rows, columns, domain=MICROSOFT, transB=1)
    return site.emit("ReduceSum", each, np.array([0]), keepdims=0)


def _shifted(site: Site, gradient: str, x: str, c: Convolution) -> str:
    """All images in one long row a channel, so that a tap is the row moved on; the smaller of dY and X moves.

    dY is filled up with zeros to the size of X with its padding: where a row moved into the next image, it meets these.
    For strides of 1.
    """
    missing = [reach - result for reach, result in zip(c.reach, c.results, strict=True)]
    outputs = c.outputs // c.group
    dy = site.emit("Pad", _channels_first(site, gradient, c), np.array([0] * (4 + len(missing)) + missing))
    dy = site.emit("Reshape", dy, np.array([c.group, outputs, -1]))
    image = padded(site, _channels_first(site, x, c), c, 2)
    image = site.emit("Reshape", image, np.array([c.group, c.inputs, -1]))
    steps = np.append(np.cumprod(c.reach[:0:-1])[::-1], 1)
    moves = [int(np.dot(np.array(tap) * c.dilations, steps)) for tap in c.taps]
    most = max(moves)
    if outputs < c.inputs:
        dy = site.emit("Pad", dy, np.array([0, 0, most, 0, 0, 0]))
        rows = [_cut(site, dy, most - move, move) for move in moves]
        product = site.emit("FusedMatMul", _stacked(site, rows), image, domain=MICROSOFT, transB=1)
        apart, order = [c.group, len(moves), outputs, c.inputs], [0, 2, 3, 1]
    else:
        rows = [_cut(site, image, move, most - move) for move in moves]
        product = site.emit("FusedMatMul", _cut(site, dy, 0, most), _stacked(site, rows), domain=MICROSOFT, transB=1)
        apart, order = [c.group, outputs, len(moves), c.inputs], [0, 1, 3, 2]
    return site.emit("Transpose", site.emit("Reshape", product, np.array(apart)), perm=order)


def _stacked(site: Site, rows: list[str]) -> str:
    return site.emit("Concat", *rows, axis=1) if len(rows) > 1 else rows[0]


def _cut(site: Site, rows: str, start: int, back: int) -> str:
    """Rows without their first `start` values and their last `back`."""
    if not start and not back:
        return rows
    return site.emit("Slice", rows, np.array([start]), np.array([-back if back else ALL]), np.array([2]))


def _by_group(site: Site, gradient: str, x: str, c: Convolution) -> str:
    """For each tap dY (groups, O / groups, N·M) times X (groups, C / groups, N·M) transposed."""
    rows = site.emit("Reshape", _channels_first(site, gradient, c), np.array([c.group, c.outputs // c.group, -1]))
    image = padded(site, _channels_first(site, x, c), c, 2)
    columns = [site.emit("Reshape", part, np.array([c.group, c.inputs, -1])) for part in met(site, image, c, 2)]
    each = [site.emit("FusedMatMul", rows, column, domain=MICROSOFT, transB=1) for column in columns]
    each = [site.emit("Unsqueeze", product, np.array([3])) for product in each]
    return site.emit("Concat", *each, axis=3) if len(each) > 1 else each[0]

"""Operators that make, move, cut and join values, in torch; see `functions`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional as F

from reverie.export.from_onnx.values import Call, Function, Value, number, numbers, operand, to_tensor
from reverie.export.lowering.shapes import resizing_matrix


def _shape(call: Call, x: Value) -> np.ndarray:
    sizes = np.empty(len(x.shape), object)
    sizes[:] = list(x.shape)
    return sizes[call.get("start", 0) : call.get("end", len(sizes))]


def _reshape(call: Call, x: Value, shape: Value) -> Value:
    """A leading size that is the graph's fixed batch stands for any batch."""
    sides = numbers(shape)
    if not call.get("allowzero", 0):
        sides = [x.shape[at] if side == 0 else side for at, side in enumerate(sides)]
    if isinstance(x, Tensor) and call.batch is not None and _leads_with_batch(x, sides, call.batch):
        sides[0] = x.shape[0]
    return x.reshape(sides)


def _leads_with_batch(x: Tensor, sides: list[Any], batch: int) -> bool:
    """Whether the first of `sides` is the batch: it has its size, and the rest is filled by one element of `x`."""
    each, rest = math.prod(x.shape[1:]), math.prod(side for side in sides[1:] if side != -1)
    fits = each % max(rest, 1) == 0 if -1 in sides[1:] else each == rest
    return len(sides) > 0 and sides[0] == batch and bool(fits)


def _flatten(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", 1) % x.dim()
    return x.flatten(1) if axis == 1 else x.reshape(math.prod(x.shape[:axis]), -1)


def _squeeze(_call: Call, x: Value, axes: Value | None = None) -> Value:
    given = [axis % x.ndim for axis in numbers(axes)]
    if not given:  # all axes of length 1, but for the first of an image's values: the number of images
        given = [at for at, side in enumerate(x.shape) if (at or not isinstance(x, Tensor)) and side == 1]
    if any(x.shape[axis] != 1 for axis in given):
        raise ValueError("it takes away an axis that is longer than 1")
    return x.reshape([side for at, side in enumerate(x.shape) if at not in given])


def _unsqueeze(_call: Call, x: Value, axes: Value) -> Value:
    places = numbers(axes)
    places = sorted(axis % (x.ndim + len(places)) for axis in places)
    for axis in places:
        x = x.unsqueeze(axis) if isinstance(x, Tensor) else np.expand_dims(x, axis)
    return x


def _transpose(call: Call, x: Value) -> Value:
    order = call.get("perm", list(range(x.ndim))[::-1])
    return x.permute(order) if isinstance(x, Tensor) else x.transpose(order)


def _expand(_call: Call, x: Value, shape: Value) -> Value:
    sides = numbers(shape)
    if not isinstance(x, Tensor):
        x = to_tensor(x)
    sides = [1] * (x.dim() - len(sides)) + sides
    new = len(sides) - x.dim()
    return x.expand([side if at < new else _wider(x.shape[at - new], side) for at, side in enumerate(sides)])


def _wider(have: Any, wanted: Any) -> Any:
    return have if isinstance(wanted, int) and wanted == 1 else wanted


def _tile(_call: Call, x: Value, repeats: Value) -> Value:
    times = numbers(repeats)
    return x.repeat(times) if isinstance(x, Tensor) else np.tile(x, times)


def _concat(call: Call, *values: Value) -> Value:
    if any(isinstance(value, Tensor) for value in values):
        return torch.cat([to_tensor(value) for value in values], dim=call.get("axis"))
    return np.asarray(np.concatenate(values, axis=call.get("axis")))


def _gather(call: Call, x: Value, indices: Value) -> Value:
    axis = call.get("axis", 0) % x.ndim
    if not isinstance(x, Tensor) and not isinstance(indices, Tensor):
        return np.asarray(np.take(x, indices.astype(np.int64), axis=axis))
    x = to_tensor(x)
    side = x.shape[axis]
    if isinstance(indices, Tensor):
        taken: Tensor = x.index_select(axis, indices.flatten()).unflatten(axis, indices.shape)
        return taken
    if indices.ndim == 0:
        return x.select(axis, int(indices) % side)
    places = torch.from_numpy(indices.astype(np.int64).ravel() % side)
    taken = x.index_select(axis, places)
    return taken if indices.ndim == 1 else taken.unflatten(axis, indices.shape)


def _slice(
    _call: Call, x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None
) -> Value:
    first, last = numbers(starts), numbers(ends)
    along = [axis % x.ndim for axis in numbers(axes)] if axes is not None else list(range(len(first)))
    by = numbers(steps) or [1] * len(first)
    for axis, start, end, step in zip(along, first, last, by, strict=True):
        if isinstance(x, Tensor) and step < 0:
            raise ValueError("a negative step is not covered")
        whole = [slice(None)] * x.ndim
        whole[axis] = slice(start, end if step > 0 or end > -x.shape[axis] - 1 else None, step)
        x = x[tuple(whole)]
    return x


def _split(call: Call, x: Tensor, sizes: Value | None = None) -> tuple[Tensor, ...]:
    axis = call.get("axis", 0)
    parts = numbers(sizes) if sizes is not None else -(-x.shape[axis] // call.outputs)
    return torch.split(x, parts, dim=axis)


def _split_to_sequence(call: Call, x: Tensor, sizes: Value | None = None) -> tuple[list[Tensor]]:
    if sizes is None or not call.get("keepdims", 1):
        raise ValueError("it must give the sizes of its parts")
    parts = numbers(sizes)
    return (list(torch.split(x, parts[0] if np.ndim(sizes) == 0 else parts, dim=call.get("axis", 0))),)


def _pad(call: Call, x: Tensor, pads: Value, value: Value | None = None, axes: Value | None = None) -> Tensor:
    amounts, mode = numbers(pads), call.get("mode", "constant")
    along = [axis % x.dim() for axis in numbers(axes)] if axes is not None else list(range(x.dim()))
    of_axis = {axis: (amounts[at], amounts[at + len(along)]) for at, axis in enumerate(along)}
    first = min((axis for axis in of_axis if of_axis[axis] != (0, 0)), default=x.dim())
    flat = [amount for axis in reversed(range(first, x.dim())) for amount in of_axis.get(axis, (0, 0))]
    if not flat:
        return x
    if mode == "constant":
        return F.pad(x, flat, value=number(value, 0.0))
    for axis in range(first, x.dim()):
        places = np.pad(np.arange(int(x.shape[axis])), of_axis.get(axis, (0, 0)), mode=mode)
        x = x.index_select(axis, torch.from_numpy(places))
    return x


def _constant_of_shape(call: Call, shape: Value) -> Value:
    fill = onnx.numpy_helper.to_array(call.get("value")).item() if call.get("value") else 0.0
    sides = numbers(shape)
    if all(isinstance(side, int) for side in sides):
        dtype = onnx.numpy_helper.to_array(call.get("value")).dtype if call.get("value") else np.float32
        return np.full(sides, fill, dtype)
    return torch.full(sides, fill)


def _resize(
    call: Call, x: Tensor, _roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None
) -> Tensor:
    """A matrix along each resized axis, made of what the operator itself does, as in lowering/shapes.py."""
    if call.get("axes") or call.get("coordinate_transformation_mode") == "tf_crop_and_resize" or x.dim() != 4:
        raise ValueError("it must resize whole images by scales or sizes")
    by = _factors(scales)
    to = numbers(sizes)
    for axis in (3, 2):
        amount = np.float32(by[axis]) if by is not None else np.int64(to[axis])
        matrix = resizing_matrix(int(x.shape[axis]), amount, call.attributes)
        if not np.array_equal(matrix, np.eye(len(matrix))):
            along = torch.from_numpy(matrix).to(x.dtype)
            x = x @ along if axis == 3 else along.T @ x
    return x


def _factors(scales: Value | None) -> np.ndarray | None:
    if isinstance(scales, Tensor):
        scales = scales.numpy()
    return np.ravel(scales).astype(np.float32) if scales is not None and scales.size else None


def _depth_to_space(call: Call, x: Tensor) -> Tensor:
    block = call.get("blocksize")
    if call.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    _, channels, height, width = x.shape
    apart = x.reshape(-1, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return apart.reshape(-1, channels // block**2, height * block, width * block)


def _space_to_depth(call: Call, x: Tensor) -> Tensor:
    block = call.get("blocksize")
    _, channels, height, width = x.shape
    apart = x.reshape(-1, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return apart.reshape(-1, channels * block**2, height // block, width // block)


def _where(_call: Call, condition: Value, x: Value, y: Value) -> Value:
    if isinstance(condition, Tensor):
        return torch.where(condition, operand(x), operand(y))
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        return torch.where(to_tensor(condition), operand(x), operand(y))
    return np.where(condition.astype(bool), x, y)


SHAPE_FUNCTIONS: dict[str, Function] = {
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Range": lambda _, start, limit, delta: np.arange(*(operand(value) for value in (start, limit, delta))),
    "Reshape": _reshape,
    "Resize": _resize,
    "SequenceAt": lambda _, sequence, at: sequence[numbers(at)[0]],
    "Shape": _shape,
    "Size": lambda _, x: np.asarray(math.prod(x.shape)),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "SplitToSequence": _split_to_sequence,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}

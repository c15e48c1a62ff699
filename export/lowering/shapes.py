"""Rules for operators that move, pool or resample values; see `rules`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from reverie.device_runtime.engine.graph import Graph
from reverie.export.lowering.lowering import CannotLowerError, Rule, Site

Values = tuple[str, ...]


def _slice(site: Site, x: str, axis: int, start: int, end: int) -> str:
    return site.emit("Slice", x, *(np.array([value]) for value in (start, end, axis)))


def split(site: Site) -> Values | None:
    """A Slice for each output where one of them is not used; otherwise it stays."""
    axis = site.attribute("axis", 0) % site.rank(site.input(0))
    if all(output in site.known.uses for output in site.node.output):
        return None
    count = len(site.node.output)
    if site.input(1):
        sizes = site.constant_input(1).tolist()
    else:
        (whole,) = site.sides(site.input(0), axis)[:1]
        part = -(-whole // count)
        sizes = [min(part, whole - part * i) for i in range(count)]
    ends = np.cumsum(sizes).tolist()
    return tuple(_slice(site, site.input(0), axis, end - size, end) for size, end in zip(sizes, ends, strict=True))


def slice_forwards(site: Site) -> None:
    """As it is, unless it has a negative step, which its gradient's kernel does not take."""
    if site.input(4) and (site.constant_input(4) < 0).any():
        raise CannotLowerError("with a negative step")


def sequence_at(site: Site) -> Values:
    """A Slice where the sequence comes from SplitToSequence, as torch writes split and chunk."""
    source = site.known.producers.get(site.input(0))
    if source is None or source.op_type != "SplitToSequence" or len(source.input) < 2:
        raise CannotLowerError("its sequence must come from a split into parts of given sizes")
    split_site = Site(source, site.known)
    x, sizes = split_site.input(0), split_site.constant_input(1)
    axis = split_site.attribute("axis", 0) % site.rank(x)
    (whole,) = site.sides(x, axis)[:1]
    edges = np.append(np.arange(0, whole, int(sizes)), whole) if sizes.ndim == 0 else np.append(0, np.cumsum(sizes))
    index = int(site.constant_input(1)) % (len(edges) - 1)
    return (_slice(site, x, axis, int(edges[index]), int(edges[index + 1])),)


def global_max_pool(site: Site) -> Values:
    """ReduceMax over the axes after the channels."""
    x = site.input(0)
    return (site.emit("ReduceMax", x, np.arange(2, site.rank(x))),)


def average_pool(site: Site) -> Values:
    """A Conv for each channel with equal weights; padding that does not count is divided out."""
    x, kernel = site.input(0), site.attribute("kernel_shape")
    channels, *sides = site.sides(x)
    rank = len(kernel)
    strides, dilations = site.attribute("strides", [1] * rank), site.attribute("dilations", [1] * rank)
    pads = list(site.attribute("pads", [0] * 2 * rank))
    if site.attribute("auto_pad", "NOTSET") != "NOTSET" or site.attribute("ceil_mode", 0):
        raise CannotLowerError("it must give its padding and round sizes down")
    how = {"pads": pads, "strides": strides, "dilations": dilations}
    weight = np.full((channels, 1, *kernel), 1 / np.prod(kernel), np.float32)
    pooled = site.emit("Conv", x, weight, group=channels, **how)
    if any(pads) and not site.attribute("count_include_pad", 0):
        model = _one_node("Conv", [(1, 1, *sides), (1, 1, *kernel)], **how)
        (counted,) = model.run({"x0": np.ones((1, 1, *sides), np.float32), "x1": weight[:1]}).values()
        pooled = site.emit("Div", pooled, counted)
    return (pooled,)


def depth_to_space(site: Site) -> Values:
    """Reshape, Transpose, Reshape."""
    block, mode = site.attribute("blocksize"), site.attribute("mode", "DCR")
    channels, height, width = site.sides(site.input(0))
    depth = channels // block**2
    apart = [block, block, depth] if mode == "DCR" else [depth, block, block]
    order = [0, 3, 4, 1, 5, 2] if mode == "DCR" else [0, 1, 4, 2, 5, 3]
    blocks = site.emit("Reshape", site.input(0), np.array([-1, *apart, height, width]))
    woven = site.emit("Transpose", blocks, perm=order)
    return (site.emit("Reshape", woven, np.array([-1, depth, height * block, width * block])),)


def space_to_depth(site: Site) -> Values:
    """Reshape, Transpose, Reshape."""
    block = site.attribute("blocksize")
    channels, height, width = site.sides(site.input(0))
    high, wide = height // block, width // block
    blocks = site.emit("Reshape", site.input(0), np.array([-1, channels, high, block, wide, block]))
    gathered = site.emit("Transpose", blocks, perm=[0, 3, 5, 1, 2, 4])
    return (site.emit("Reshape", gathered, np.array([-1, channels * block**2, high, wide])),)


def pad(site: Site) -> Values | None:
    """Gather along each padded axis for reflect, edge and wrap; constant padding stays."""
    x, mode = site.input(0), site.attribute("mode", "constant")
    if mode == "constant":
        return None
    amounts, rank = site.constant_input(1).tolist(), site.rank(x)
    axes = site.constant_input(3).tolist() if site.input(3) else range(rank)
    for place, axis in enumerate(axes):
        before, after = amounts[place], amounts[place + len(amounts) // 2]
        if before < 0 or after < 0:
            raise CannotLowerError("it takes values away: slice instead")
        if before or after:
            side = site.sides(site.input(0), axis % rank)[0]
            x = site.emit("Gather", x, np.pad(np.arange(side), (before, after), mode=mode), axis=axis % rank)
    return (x,)


def resize(site: Site) -> Values:
    """A MatMul along each resized axis with the matrix that the operator itself makes of unit vectors."""
    if site.rank(site.input(0)) != 4:
        raise CannotLowerError("it must resize images")
    x, (height, width) = site.input(0), site.sides(site.input(0), 2)
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in site.node.attribute}
    if attributes.pop("axes", None) or attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
        raise CannotLowerError("it must resize whole images by scales or sizes")
    scales = site.known.constants.get(site.input(2), np.ones(0)) if site.input(2) else np.ones(0)
    for axis, side in ((3, width), (2, height)):
        amount = np.float32(scales[axis]) if scales.size else np.int64(site.sides(site.node.output[0], axis)[0])
        matrix = resizing_matrix(side, amount, attributes)
        if not np.array_equal(matrix, np.eye(side)):
            x = site.emit("MatMul", x, matrix) if axis == 3 else site.emit("MatMul", matrix.T.copy(), x)
    if scales.size and (scales[:2] != 1).any():
        raise CannotLowerError("it must leave batch and channels as they are")
    return (x,)


def resizing_matrix(side: int, amount: np.float32 | np.int64, attributes: dict[str, Any]) -> np.ndarray:
    """The matrix (side, new side) of a resize along one axis, by a scale or to a size."""
    by_scale = isinstance(amount, np.float32)
    amounts = np.array([1, 1, 1 if by_scale else side, amount], amount.dtype)
    model = _one_node(
        "Resize", [(1, 1, side, side)], ["x0", "", "x1"] if by_scale else ["x0", "", "", "x1"], amounts, **attributes
    )
    (resized,) = model.run({"x0": np.eye(side, dtype=np.float32)[None, None]}).values()
    return np.ascontiguousarray(resized[0, 0])


def conv_transpose(site: Site) -> Values:
    """Zeros between the inputs (Reshape, Pad), then a Conv with the weights turned round (Gather, Transpose)."""
    x, weight = site.input(0), site.input(1)
    (out_of_group, *kernel), (channels, *sides) = site.sides(weight), site.sides(x)
    rank, group = len(kernel), site.attribute("group", 1)
    strides, dilations = site.attribute("strides", [1] * rank), site.attribute("dilations", [1] * rank)
    pads, extra = site.attribute("pads", [0] * 2 * rank), site.attribute("output_padding", [0] * rank)
    if site.attribute("auto_pad", "NOTSET") != "NOTSET" or site.attribute("output_shape"):
        raise CannotLowerError("it must give its padding")
    if any(stride > 1 for stride in strides):
        apart = [part for side in sides for part in (side, 1)]
        x = site.emit("Reshape", x, np.array([-1, channels, *apart]))
        zeros = [0, 0] + [part for stride in strides for part in (0, stride - 1)]
        x = site.emit("Pad", x, np.array([0] * len(zeros) + zeros))
        x = site.emit("Reshape", x, np.array([-1, channels, *(a * b for a, b in zip(sides, strides, strict=True))]))
    reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    around = [r - p for r, p in zip(reach, pads[:rank], strict=True)]
    around += [r - p + e - (s - 1) for r, p, e, s in zip(reach, pads[rank:], extra, strides, strict=True)]
    for axis in range(rank):
        x = _crop(site, x, axis + 2, sides[axis] * strides[axis], around[axis], around[axis + rank])
        weight = site.emit("Gather", weight, np.arange(kernel[axis])[::-1].copy(), axis=axis + 2)
    split_groups = np.array([group, channels // group, out_of_group, *kernel])
    swapped = site.emit("Transpose", site.emit("Reshape", weight, split_groups), perm=[0, 2, 1, *range(3, 3 + rank)])
    turned = site.emit("Reshape", swapped, np.array([group * out_of_group, channels // group, *kernel]))
    bias = (site.input(2),) if site.input(2) else ()
    padding = [max(amount, 0) for amount in around]
    return (site.emit("Conv", x, turned, *bias, group=group, dilations=dilations, pads=padding),)


def _crop(site: Site, x: str, axis: int, side: int, before: int, after: int) -> str:
    """Take away what a negative padding asks for."""
    if before >= 0 and after >= 0:
        return x
    return _slice(site, x, axis, max(-before, 0), side + min(after, 0))


def _one_node(
    op: str,
    shapes: list[tuple[int, ...]],
    names: list[str] | None = None,
    last: np.ndarray | None = None,
    **how: Any,
) -> Graph:
    """A graph of one node, run by the engine to learn what the node does. `last` is the constant input x1."""
    inputs = [
        onnx.helper.make_tensor_value_info(f"x{i}", onnx.TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)
    ]
    names = names or [value.name for value in inputs]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    constants = [] if last is None else [onnx.numpy_helper.from_array(last, "x1")]
    graph = onnx.helper.make_graph([onnx.helper.make_node(op, names, ["y"], **how)], op, inputs, [output], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    return Graph(model.SerializeToString())


SHAPE_RULES: dict[str, Rule] = {
    "AveragePool": average_pool,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "GlobalMaxPool": global_max_pool,
    "Pad": pad,
    "Resize": resize,
    "Slice": slice_forwards,
    "SpaceToDepth": space_to_depth,
    "SequenceAt": sequence_at,
    "Split": split,
}

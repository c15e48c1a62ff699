"""Reading a classifier from `model.onnx`: what is refused, which initialisers are weights, where its classes are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter
from onnx import NodeProto, TensorProto

from reverie.device_runtime.errors import ExportError, first_line
from reverie.export.from_onnx.functions import FUNCTIONS
from reverie.export.graphs.onnx_export import IR_VERSION
from reverie.export.lowering.lowering import keep_used

OPSET, NEWEST = 18, 21
"""Older files are converted to the first; onnxruntime 1.19.2 reads nothing newer than the second."""

BY_VALUE = frozenset(("If", "Loop", "Scan", "NonZero", "NonMaxSuppression", "Unique", "Compress", "SequenceMap"))
"""Operators by which what is computed depends on the values in the input."""

WEIGHTS = {
    "Add": (0, 1),
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "Mul": (0, 1),
    "PRelu": (1,),
}
"""Operator → those of its inputs that are weights where they are initialisers; of Add and Mul, if no single number."""

FLOATS = frozenset((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE))
SAME_WEIGHT = frozenset(("Cast", "CastLike", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"))
AFTER_HEAD = frozenset(("Dropout", "Flatten", "GlobalAveragePool", "Identity", "ReduceMean", "Relu", "Squeeze"))


@dataclass(frozen=True)
class OnnxFile:
    """A graph of opset 18 to 21 from images to logits.

    `batch` is the number of images where the file fixes it. `softmax` says which operator was cut off behind the
    logits, and `original` is the file's content, which onnxruntime runs for comparison.
    """

    graph: onnx.GraphProto
    input: str
    batch: int | None
    channels_last: bool
    softmax: str
    original: bytes


def read_onnx(path: Path, input_shape: tuple[int, ...]) -> OnnxFile:
    """The classifier in a file, for images of `input_shape` (C, H, W). Raises ExportError."""
    try:
        model = onnx.load(str(path), load_external_data=False)
        _refuse_external(model, path)
        model = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(_checkable(model))
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except ExportError:
        raise
    except FileNotFoundError:
        raise ExportError(f"there is no file {path}: check the path of the model") from None
    except Exception as error:
        raise ExportError(f"cannot read {path} ({first_line(error)}): give a model in ONNX format") from error
    image = _the_image(model.graph, path)
    batch, channels_last = _layout(image, input_shape, path)
    softmax = _cut_softmax(model.graph, path)
    model.ir_version = min(model.ir_version, IR_VERSION)
    keep_used(model.graph)
    original = model.SerializeToString()
    graph = _current(model, path).graph
    keep_used(graph)
    return OnnxFile(graph, image.name, batch, channels_last, softmax, original)


def _checkable(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` as the checker takes it, which refuses GroupNormalization of opset 18 to 20; that is known here.

    In its place stands what has the same inputs and output.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for node in copied.graph.node:
        if node.op_type == "GroupNormalization" and not node.domain:
            node.op_type = "InstanceNormalization"
            kept = [attribute for attribute in node.attribute if attribute.name == "epsilon"]
            del node.attribute[:]
            node.attribute.extend(kept)
    return copied


def _refuse_external(model: onnx.ModelProto, path: Path) -> None:
    tensors = [*model.graph.initializer, *(a.t for node in model.graph.node for a in node.attribute if a.HasField("t"))]
    outside = [t.name for t in tensors if t.data_location == TensorProto.EXTERNAL]
    if outside:
        raise ExportError(
            f"{path} keeps {len(outside)} tensors, such as {outside[0]}, in another file: write it as a single file "
            "(torch.onnx.export(..., external_data=False), or onnx.save_model of onnx.load(...))"
        )


def _the_image(graph: onnx.GraphProto, path: Path) -> onnx.ValueInfoProto:
    """The one input that is no initialiser; there must be one output too."""
    known = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in known]
    outputs = [value.name for value in graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        raise ExportError(
            f"{path} has inputs {', '.join(v.name for v in inputs) or 'none'} and outputs {', '.join(outputs)}: a "
            "solver has one input, images, and one output, logits"
        )
    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ExportError(f"the input {inputs[0].name} of {path} is not float32: write the model for float32 images")
    image: onnx.ValueInfoProto = inputs[0]
    return image


def _layout(image: onnx.ValueInfoProto, input_shape: tuple[int, ...], path: Path) -> tuple[int | None, bool]:
    """Fixed number of images, and whether channels come last."""
    sides = [side.dim_value or None for side in image.type.tensor_type.shape.dim]
    channels, height, width = input_shape if len(input_shape) == 3 else (0, 0, 0)

    def fits(*wanted: int) -> bool:
        return len(sides) == 4 and all(side in {None, want} for side, want in zip(sides[1:], wanted, strict=True))

    if not fits(channels, height, width) and not fits(height, width, channels):
        takes = ", ".join("any" if side is None else str(side) for side in sides[1:])
        raise ExportError(
            f"{path} takes images of shape ({takes}), not {input_shape} (channels, height, width) or the same with "
            "channels last: give the size of its images"
        )
    return sides[0], not fits(channels, height, width)


def _cut_softmax(graph: onnx.GraphProto, path: Path) -> str:
    """Let the output be what enters a softmax at the end; returns its operator, or ""."""
    producers = {output: node for node in graph.node for output in node.output}
    last = producers.get(graph.output[0].name)
    while last is not None and last.op_type == "Identity":
        last = producers.get(last.input[0])
    if last is not None and last.op_type == "Sigmoid":
        raise ExportError(f"{path} ends in a Sigmoid, a yes or no for each class: give a model that returns logits")
    if last is None or last.op_type not in {"Softmax", "LogSoftmax"}:
        return ""
    graph.output[0].name = last.input[0]
    return str(last.op_type)


def _current(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """`model` in an opset from 18 on, all operators known and no value known to depend."""
    opset = next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if opset > NEWEST:
        raise ExportError(f"{path} is of opset {opset}: write it in opset {NEWEST} or older, which the engine reads")
    _refuse_operators(model.graph, path)
    if opset < OPSET:
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
        except Exception as error:
            raise ExportError(
                f"{path} is of opset {opset} and cannot be brought to {OPSET} ({first_line(error)}): write it in opset "
                f"{OPSET} or newer"
            ) from error
        _refuse_operators(model.graph, path)
    return model


def _refuse_operators(graph: onnx.GraphProto, path: Path) -> None:
    refused = []
    for node in graph.node:
        name = f"{node.domain}.{node.op_type}" if node.domain not in {"", "ai.onnx"} else node.op_type
        if name in BY_VALUE:
            raise ExportError(
                f"{path} has {name} at {place(node)}: what it computes must not depend on the values in its input"
            )
        if name not in FUNCTIONS and name != "Constant":
            refused.append(f"{name} at {place(node)}")
    if refused:
        raise ExportError(
            f"{path} has operators that Reverie does not know: {', '.join(dict.fromkeys(refused))}; write the model "
            "with others, see docs/operators.md"
        )


def place(node: NodeProto) -> str:
    """A node's name in errors."""
    return node.name or f"the node that makes {node.output[0]}"


def weights_of(graph: onnx.GraphProto) -> dict[str, set[str]]:
    """Initialisers that train → the first outputs of the nodes that use each as a weight."""
    floats = {t.name: t for t in graph.initializer if t.data_type in FLOATS}
    origin = {name: name for name in floats}
    used: dict[str, set[str]] = {}
    for node in graph.node:
        if node.op_type in SAME_WEIGHT and node.input[0] in origin:
            origin[node.output[0]] = origin[node.input[0]]
        for at in WEIGHTS.get(node.op_type, ()):
            source = origin.get(node.input[at]) if at < len(node.input) else None
            if source and (node.op_type not in {"Add", "Mul"} or math.prod(floats[source].dims) > 1):
                used.setdefault(source, set()).add(node.output[0])
    return used


def head_of(graph: onnx.GraphProto) -> dict[str, int]:
    """Weights of the layer that makes the logits → the axis of each that grows with the classes; {} if not found."""
    producers = {output: node for node in graph.node for output in node.output}
    known = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, int] = {}
    node = producers.get(graph.output[0].name)
    while node is not None and (node.op_type in AFTER_HEAD or node.op_type == "Add"):
        value = node.input[0]
        if node.op_type == "Add":
            bias = next((name for name in node.input if name in known), None)
            if bias is None or found:
                return {}
            found[bias] = len(known[bias].dims) - 1
            value = next(name for name in node.input if name != bias)
        node = producers.get(value)
    if node is None or node.op_type not in {"Gemm", "MatMul", "Conv"}:
        return {}
    out = {"Gemm": 0 if _attribute(node, "transB") else 1, "MatMul": 1, "Conv": 0}[node.op_type]
    weight = node.input[1]
    for turned in _before(producers, weight):
        out, weight = (1 - out, turned.input[0]) if turned.op_type == "Transpose" else (out, turned.input[0])
    if weight not in known or (node.op_type != "Conv" and len(known[weight].dims) != 2):
        return {}
    found[weight] = out
    if len(node.input) > 2 and node.input[2] in known:
        found[node.input[2]] = len(known[node.input[2]].dims) - 1
    return found


def _before(producers: dict[str, NodeProto], value: str) -> Iterator[NodeProto]:
    """The nodes that hand a weight on, from the last to the first."""
    while value in producers and producers[value].op_type in {"Transpose", "Identity", "Cast", "CastLike"}:
        yield producers[value]
        value = producers[value].input[0]


def _attribute(node: NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)

"""Which operators train on the device, and where in a model one stands that does not."""

from __future__ import annotations

import ast

import numpy as np
import onnx
import onnx.numpy_helper

from reverie.device_runtime.errors import ExportError

TRAINABLE = frozenset(
    (
        "Abs",
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "Div",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Gather",
        "Gemm",
        "GlobalAveragePool",
        "Identity",
        "LeakyRelu",
        "Log",
        "LogSoftmax",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Neg",
        "Pad",
        "Pow",
        "Reciprocal",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tanh",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    )
)
"""Operators whose gradient onnxruntime-training 1.19.2 computes on the CPU, each compared with torch.

AveragePool is not one: its gradient divides by zero where the batch size is free.
"""

WITHOUT_GRADIENT = frozenset(
    (
        "And",
        "ArgMax",
        "ArgMin",
        "Constant",
        "ConstantOfShape",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Not",
        "Or",
        "Range",
        "Shape",
        "Size",
        "Xor",
    )
)
"""Operators through which no gradient flows in torch either, and at which the gradient builder stops."""


def place(node: onnx.NodeProto) -> str:
    """Path of the module that a node came from, such as `solver.features.0`."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 and scopes[-2] else "forward"
    return node.name or "an unnamed node"


def differentiable_values(graph: onnx.GraphProto, sources: set[str]) -> set[str]:
    """Names of all values that depend on `sources` through operators that pass a gradient."""
    reached = set(sources)
    for node in graph.node:
        if node.op_type not in WITHOUT_GRADIENT and reached.intersection(node.input):
            reached.update(node.output)
    return reached


def refuse_untrainable(model: onnx.ModelProto, sources: set[str]) -> None:
    """Raise ExportError naming each operator between `sources` and the outputs that cannot be trained."""
    reached = differentiable_values(model.graph, sources)
    refused = []
    for node in model.graph.node:
        on_path = bool(reached.intersection(node.input))
        if on_path and node.op_type not in TRAINABLE | WITHOUT_GRADIENT:
            refused.append(f"{node.op_type} at {place(node)}")
        elif on_path and node.op_type == "Pad" and _mode(node) != "constant":
            refused.append(f"Pad ({_mode(node)}) at {place(node)}")
        elif on_path and node.op_type == "Slice" and _runs_backwards(model.graph, node):
            refused.append(f"Slice (with a negative step) at {place(node)}")
    if refused:
        raise ExportError(
            f"no gradient on the device for {', '.join(dict.fromkeys(refused))}: "
            f"replace by one of {', '.join(sorted(TRAINABLE))}"
        )


def _mode(node: onnx.NodeProto) -> str:
    return next((str(a.s, "ascii") for a in node.attribute if a.name == "mode"), "constant")


def _runs_backwards(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether a Slice has a negative step, which its gradient's kernel does not take."""
    if len(node.input) < 5:
        return False
    steps = constant(graph, node.input[4])
    return steps is None or bool((steps < 0).any())


def constant(graph: onnx.GraphProto, name: str) -> np.ndarray | None:
    """The value `name` if it is an initializer or a Constant node's, else None."""
    for tensor in graph.initializer:
        if tensor.name == name:
            return onnx.numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            value = onnx.helper.get_attribute_value(node.attribute[0])
            return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    return None

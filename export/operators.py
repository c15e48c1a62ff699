"""Which operators train on the device, and where in a model one stands that does not."""

from __future__ import annotations

import ast

import onnx

from reverie.device_runtime.errors import ExportError

TRAINABLE = frozenset(
    (
        "Abs",
        "Add",
        "AveragePool",
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
"""Operators whose gradient onnxruntime-training 1.19.2 computes on the CPU, each compared with torch."""

WITHOUT_GRADIENT = frozenset(
    (
        "And",
        "ArgMax",
        "ArgMin",
        "Ceil",
        "Constant",
        "ConstantOfShape",
        "Equal",
        "Floor",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Not",
        "Or",
        "Range",
        "Round",
        "Shape",
        "Sign",
        "Size",
    )
)
"""Operators through which no gradient flows in torch either."""


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
    if refused:
        raise ExportError(
            f"no gradient on the device for {', '.join(dict.fromkeys(refused))}: "
            f"replace by one of {', '.join(sorted(TRAINABLE))}"
        )


def _mode(node: onnx.NodeProto) -> str:
    return next((str(a.s, "ascii") for a in node.attribute if a.name == "mode"), "constant")

"""Which operators train on the device, and where in a model one stands that does not."""

from __future__ import annotations

import ast
import sys
import textwrap

import onnx

from reverie.device_runtime.errors import ExportError
from reverie.export.lowering.lowering import lower
from reverie.export.lowering.rules import RULES

TRAINABLE = frozenset(
    (
        "Abs",
        "Add",
        "Atan",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "Cos",
        "CumSum",
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
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Sigmoid",
        "Sin",
        "Slice",
        "Softmax",
        "Split",
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
"""Operators that have a rule in `gradients.table`, each compared with torch.

Split trains where all of its outputs are used, which its rule here sees to, and Pad with a constant.
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
"""Operators through which no gradient flows in torch either."""


def place(node: onnx.NodeProto) -> str:
    """Path of the module that a node came from, such as `solver.features.0`."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 and scopes[-2] else "forward"
    return node.name or "an unnamed node"


def make_trainable(model: onnx.ModelProto, sources: set[str]) -> None:
    """Lower `model` in place. Raises ExportError naming each operator between `sources` and the loss that cannot train.

    The loss is the first output. BatchNormalization is refused anywhere: the engine silently uses batch statistics.
    """
    reasons = lower(model, RULES)
    path = nodes_on_path(model.graph, sources)
    refused = []
    for node in model.graph.node:
        what = node.op_type
        if node.output[0] in reasons:
            what += f" ({reasons[node.output[0]]})"
        elif what in TRAINABLE | WITHOUT_GRADIENT:
            continue
        if node.op_type == "BatchNormalization" or node.output[0] in path:
            refused.append(f"{what} at {place(node)}")
    if refused:
        raise ExportError(
            f"no gradient on the device for {', '.join(dict.fromkeys(refused))}: "
            "replace it by operators that train, see docs/operators.md"
        )


def nodes_on_path(graph: onnx.GraphProto, sources: set[str]) -> set[str]:
    """First outputs of the nodes through which a gradient flows from the first output to `sources`."""
    reached = set(sources)
    for node in graph.node:
        if node.op_type not in WITHOUT_GRADIENT and reached.intersection(node.input):
            reached.update(node.output)
    needed = {graph.output[0].name}
    path = set()
    for node in reversed(graph.node):
        if node.op_type not in WITHOUT_GRADIENT and needed.intersection(node.output):
            needed.update(reached.intersection(node.input))
            if reached.intersection(node.input):
                path.add(node.output[0])
    return path


def as_markdown() -> str:
    """What `docs/operators.md` holds."""
    rules = [f"| {name} | {(RULES[name].__doc__ or '').splitlines()[0]} |" for name in sorted(RULES)]
    return "\n".join(
        [
            "# Operators that train on the device",
            "",
            "Made by `python -m reverie.export.lowering.operators > docs/operators.md`.",
            "",
            "These train as they are:",
            "",
            *textwrap.wrap(", ".join(sorted(TRAINABLE - RULES.keys())) + ".", 118),
            "",
            "These are rewritten for training; the solver in service keeps them as they were exported:",
            "",
            "| operator | becomes |",
            "|---|---|",
            *rules,
            "",
            "No gradient flows through these, here as in torch:",
            "",
            *textwrap.wrap(", ".join(sorted(WITHOUT_GRADIENT)) + ".", 118),
            "",
            "Any other operator between a trained parameter and the loss is refused by name and place in the model.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(as_markdown())

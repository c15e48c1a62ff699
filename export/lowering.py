"""ONNX graph as torch writes it → the same function in operators that the device can train."""

from __future__ import annotations

import onnx

from reverie.device_runtime.errors import ExportError


def lower(model: onnx.ModelProto) -> None:
    """Rewrite `model` in place."""
    types = _element_types(model)
    for node in model.graph.node:
        if node.op_type == "CastLike":
            _cast_like(node, types)


def _cast_like(node: onnx.NodeProto, types: dict[str, int]) -> None:
    """CastLike(x, y) → Cast(x) to the type of y, which is known when the graph is written."""
    like = node.input.pop()
    if like not in types:
        raise ExportError(f"the type of {like} is not known in the exported graph, so that CastLike cannot be replaced")
    node.op_type = "Cast"
    node.attribute.append(onnx.helper.make_attribute("to", types[like]))


def _element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every value that the graph knows it of."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}

"""Graphs of one operator with a loss behind it, their gradients by our rules, and the same by torch's autograd."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from reverie.device_runtime.engine.graph import Graph
from reverie.export.gradients.placeholders import write_out
from reverie.export.gradients.reverse import add_gradients
from reverie.export.rewriting.blocked_layout import DOMAIN

ORDINARY = {("com.microsoft", "FusedMatMul")} | {(DOMAIN, op) for op in ("Conv", "ReorderInput", "ReorderOutput")}
"""What the ordinary engine has beside ai.onnx."""


def one_operator(op, inputs, attributes, outputs=1):
    """A model of `op` on `inputs`: a shape with "N" for the batch, an array for a constant, or None for none.

    Its loss is the sum of its outputs, each times the input `w0`, `w1`, ...
    """
    names, given, constants = [], [], []
    for i, value in enumerate(inputs):
        names.append("" if value is None else f"x{i}")
        if isinstance(value, np.ndarray | np.generic):
            constants.append(numpy_helper.from_array(np.asarray(value), f"x{i}"))
        elif value is not None:
            given.append(helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, value))
    made = [f"y{i}" for i in range(outputs)]
    nodes = [helper.make_node(op, names, made, **attributes)]
    for i, y in enumerate(made):
        given.append(helper.make_tensor_value_info(f"w{i}", TensorProto.FLOAT, None))
        nodes.append(helper.make_node("Mul", [y, f"w{i}"], [f"p{i}"]))
        nodes.append(helper.make_node("ReduceSum", [f"p{i}"], [f"l{i}"], keepdims=0))
    nodes.append(helper.make_node("Sum", [f"l{i}" for i in range(outputs)], ["loss"]))
    loss = helper.make_tensor_value_info("loss", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, op, given, [loss], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    # The weights of the loss have the shape of what they weigh.
    shapes = {v.name: v.type for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for value in model.graph.input:
        if value.name[0] == "w":
            value.type.CopyFrom(shapes[f"y{value.name[1:]}"])
    return model


def with_gradients(model, wanted):
    """`model` with an output for each gradient, in operators of the ordinary engine."""
    gradients = add_gradients(model, wanted)
    for name, gradient in gradients.items():
        (like,) = [v for v in (*model.graph.input, *described(model.graph.initializer)) if v.name == name]
        output = model.graph.output.add()
        output.CopyFrom(like)
        output.name = gradient
    write_out(model)
    onnx.checker.check_model(model)
    beyond = {(node.domain, node.op_type) for node in model.graph.node if node.domain}
    assert beyond <= ORDINARY
    return model


def described(tensors):
    return [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]


def assert_gradients(model, function, feeds, wanted, tolerance=1e-4):
    """Loss and gradients of the model of `one_operator` are those of `function`, which torch computes in float64."""
    graph = Graph(with_gradients(model, wanted).SerializeToString())
    assert_like_torch(graph, function, feeds, wanted, tolerance)


def weights_for(function, feeds, seed=0):
    """Random values for `w0`, `w1`, ... in the shapes of what `function` gives."""
    with torch.no_grad():
        outputs = function(*(torch.from_numpy(value) for value in feeds.values()))
    outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
    rng = np.random.default_rng(seed)
    return {f"w{i}": rng.standard_normal(y.shape).astype(np.float32) for i, y in enumerate(outputs)}


def assert_like_torch(graph, function, feeds, wanted, tolerance=1e-4):
    weights = weights_for(function, feeds)
    sources = {name: torch.from_numpy(value).double().requires_grad_(name in wanted) for name, value in feeds.items()}
    outputs = function(*sources.values())
    outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
    loss = sum((y * torch.from_numpy(w)).sum() for y, w in zip(outputs, weights.values(), strict=True))
    expected = torch.autograd.grad(loss, [sources[name] for name in wanted], allow_unused=True, materialize_grads=True)
    ours = graph.run(feeds | weights)
    for name, gradient in zip(wanted, expected, strict=True):
        assert ours[f"{name}_grad"].shape == tuple(gradient.shape)
        largest = max(1.0, float(gradient.abs().max()) if gradient.numel() else 0.0)
        np.testing.assert_allclose(
            ours[f"{name}_grad"], gradient.numpy(), rtol=0, atol=tolerance * largest, err_msg=name
        )

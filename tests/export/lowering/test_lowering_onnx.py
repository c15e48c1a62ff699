"""Rules for operators that torch's exporter never writes: forward and input gradient beside torch, at two shapes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from test_lowering import FROM_ONNX_ALONE
from torch.nn import functional as F

from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.errors import ExportError
from reverie.export.graphs.artifacts import input_gradient
from reverie.export.lowering.operators import make_trainable

CHANNELS = 4
PER_GROUP = np.array([1.5, -0.5], np.float32)
PER_CHANNEL = np.array([1.5, -0.5, 2.0, 1.0], np.float32)


def group_norm(scale, bias):
    def function(x):
        each = [torch.from_numpy(np.repeat(v, CHANNELS // len(v))).double() for v in (scale, bias)]
        return F.group_norm(x, 2, *each)

    return function


CASES = [
    ("Dropout", {}, [], 1, lambda x: x),
    ("GlobalMaxPool", {}, [], 1, lambda x: x.amax(dim=(2, 3), keepdim=True)),
    ("GroupNormalization", {"num_groups": 2}, [PER_GROUP, PER_GROUP[::-1]], 1, group_norm(PER_GROUP, PER_GROUP[::-1])),
    (
        "GroupNormalization",
        {"num_groups": 2},
        [PER_CHANNEL, PER_CHANNEL[::-1]],
        1,
        group_norm(PER_CHANNEL, PER_CHANNEL[::-1]),
    ),
    ("SpaceToDepth", {"blocksize": 2}, [], 1, lambda x: x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        .permute(0, 3, 5, 1, 2, 4).flatten(1, 3)),
    ("DepthToSpace", {"blocksize": 2, "mode": "CRD"}, [], 1, lambda x: F.pixel_shuffle(x, 2)),
    ("Split", {"axis": 1, "num_outputs": 2}, [], 2, lambda x: x[:, 2:]),
    ("Split", {"axis": 2}, [np.array([1, 2, 1])], 3, lambda x: x[:, :, 3:]),
]  # fmt: skip


def one_node_model(operator, attributes, inputs, outputs, shape, result_shape):
    """x → the operator → its last output, weighted and summed. Of several outputs only the last is used."""
    names = [f"y{i}" for i in range(outputs)]
    constants = [onnx.numpy_helper.from_array(np.ascontiguousarray(v), f"c{i}") for i, v in enumerate(inputs)]
    weights = np.random.default_rng(0).normal(size=result_shape[1:]).astype(np.float32)
    nodes = [
        onnx.helper.make_node(operator, ["x", *(c.name for c in constants)], names, **attributes),
        onnx.helper.make_node("Mul", [names[-1], "weights"], ["weighted"]),
        onnx.helper.make_node("ReduceSum", ["weighted"], ["loss"], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        operator,
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", *shape])],
        [onnx.helper.make_tensor_value_info("loss", onnx.TensorProto.FLOAT, [])],
        [*constants, onnx.numpy_helper.from_array(weights, "weights")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), weights


@pytest.mark.parametrize("shape", [(CHANNELS, 4, 6), (CHANNELS, 4, 2)], ids=["4x6", "4x2"])
@pytest.mark.parametrize(("operator", "attributes", "inputs", "outputs", "function"), CASES)
def test_the_loss_and_its_input_gradient_are_torchs(operator, attributes, inputs, outputs, function, shape):
    for batch in (1, 3):
        x = torch.from_numpy(np.random.default_rng(batch).normal(size=(batch, *shape))).double().requires_grad_()
        result = function(x)
        model, weights = one_node_model(operator, attributes, inputs, outputs, shape, result.shape)
        loss = (result * torch.from_numpy(weights)).sum()
        loss.backward()
        make_trainable(model, {"x"})
        ours = Graph(input_gradient(model, "x").SerializeToString()).run({"x": x.detach().numpy().astype(np.float32)})
        np.testing.assert_allclose(ours["loss"], loss.item(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(ours["x_grad"], x.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_each_rule_that_torch_never_asks_for_has_a_case():
    assert {case[0] for case in CASES} >= FROM_ONNX_ALONE


def test_statistics_of_the_batch_are_refused():
    """BatchNormalization in training mode has two more outputs, the running statistics."""
    ones = np.ones(CHANNELS, np.float32)
    model, _ = one_node_model(
        "BatchNormalization", {"training_mode": 1}, [ones] * 4, 1, (CHANNELS, 2, 2), (1, CHANNELS, 2, 2)
    )
    with pytest.raises(ExportError, match=r"BatchNormalization \(it is in training mode: export in evaluation mode\)"):
        make_trainable(model, {"x"})

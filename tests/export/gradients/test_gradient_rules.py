"""Every rule of the table on the engine, beside torch's autograd, at two batch sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from own_gradients import assert_like_torch, one_operator, with_gradients
from torch.nn import functional as F

from reverie.device_runtime.engine.graph import Graph
from reverie.export.gradients.table import RULES
from reverie.export.lowering.operators import TRAINABLE

X = ("N", 4, 5)
IMAGES = ("N", 3, 6, 7)
COLUMNS = np.array([True, False, True, False, False])


def ints(*values):
    return np.array(values, np.int64)


def floats(*values):
    return np.array(values, np.float32)


CASES = [
    ("Abs", [X], {}, torch.abs),
    ("Add", [X, (4, 1)], {}, torch.add),
    ("Atan", [X], {}, torch.atan),
    ("Cast", [X], {"to": 1}, lambda x: x),
    ("Clip", [X, np.float32(-0.5), np.float32(1)], {}, lambda x: x.clamp(-0.5, 1)),
    ("Clip", [X, None, np.float32(1)], {}, lambda x: x.clamp(max=1)),
    ("Clip", [X, np.float32(0), np.float32(6)], {}, F.relu6),
    ("Concat", [X, ("N", 2, 5), X], {"axis": 1}, lambda *x: torch.cat(x, 1)),
    ("Concat", [X, X], {"axis": 0}, lambda *x: torch.cat(x, 0)),
    ("Cos", [X], {}, torch.cos),
    ("CumSum", [X, ints(2)[0]], {}, lambda x: x.cumsum(2)),
    ("CumSum", [X, ints(1)[0]], {"reverse": 1, "exclusive": 1}, lambda x: x.flip(1).cumsum(1).flip(1) - x),
    ("Div", [X, X], {}, torch.div),
    ("Div", [(5,), X], {}, torch.div),
    ("Erf", [X], {}, torch.erf),
    ("Exp", [X], {}, torch.exp),
    ("Expand", [("N", 1, 5), ints(1, 4, 1)], {}, lambda x: x.expand(-1, 4, -1)),
    ("Expand", [(4, 1), ints(3, 4, 5)], {}, lambda x: x.expand(3, 4, 5)),
    ("Flatten", [IMAGES], {"axis": 1}, lambda x: x.flatten(1)),
    ("Gather", [X, ints(2)[0]], {"axis": 1}, lambda x: x[:, 2]),
    ("Gather", [X, ints(-1)[0]], {"axis": 1}, lambda x: x[:, -1]),
    ("Gather", [X, ints(1, 2)], {"axis": 2}, lambda x: x[:, :, 1:3]),
    ("Gather", [X, ints(3, 0, 0, -1, 0)], {"axis": 1}, lambda x: x[:, [3, 0, 0, -1, 0]]),
    ("Gather", [X, np.array([[3, 0], [1, 1]])], {"axis": 2}, lambda x: x[:, :, torch.tensor([[3, 0], [1, 1]])]),
    ("Gather", [X, ints(0)[0]], {"axis": 0}, lambda x: x[0]),
    ("Gather", [X, ints(0, -1, 0)], {"axis": 0}, lambda x: x[[0, -1, 0]]),
    ("Gather", [(4, "N", 5), ints(0, -1, 0)], {"axis": 1}, lambda x: x[:, [0, -1, 0]]),
    ("Gemm", [("N", 4), (4, 5), (5,)], {}, lambda a, b, c: a @ b + c),
    ("Gemm", [("N", 4), (5, 4), ("N", 1)], {"transB": 1, "beta": 2.0}, lambda a, b, c: a @ b.T + 2 * c),
    ("Gemm", [("N", 4), (5, 4)], {"transB": 1, "alpha": 0.5}, lambda a, b: a @ b.T / 2),
    ("Gemm", [(4, "N"), (4, 5)], {"transA": 1}, lambda a, b: a.T @ b),
    ("Gemm", [(4, "N"), (5, 4), ()], {"transA": 1, "transB": 1}, lambda a, b, c: a.T @ b.T + c),
    ("GlobalAveragePool", [IMAGES], {}, lambda x: x.mean(dim=(2, 3), keepdim=True)),
    ("GlobalAveragePool", [X], {}, lambda x: x.mean(dim=2, keepdim=True)),
    ("Identity", [X], {}, lambda x: x),
    ("LeakyRelu", [X], {"alpha": 0.2}, lambda x: F.leaky_relu(x, 0.2)),
    ("LeakyRelu", [X], {"alpha": -0.5}, lambda x: F.leaky_relu(x, -0.5)),
    ("Log", [X], {}, torch.log),
    ("LogSoftmax", [X], {"axis": 1}, lambda x: torch.log_softmax(x, 1)),
    ("LogSoftmax", [X], {}, lambda x: torch.log_softmax(x, 2)),
    ("MatMul", [("N", 4), (4, 5)], {}, torch.matmul),
    ("MatMul", [X, (5, 3)], {}, torch.matmul),
    ("MatMul", [(3, 4), X], {}, torch.matmul),
    ("MatMul", [("N", 2, 4, 5), ("N", 1, 5, 3)], {}, torch.matmul),
    ("MatMul", [(2, 4, 5), ("N", 1, 5, 3)], {}, torch.matmul),
    ("Max", [X, (5,)], {}, torch.maximum),
    ("Max", [X, X, X], {}, lambda a, b, c: torch.maximum(torch.maximum(a, b), c)),
    ("Min", [X, ("N", 1, 1)], {}, torch.minimum),
    ("Mul", [X, X], {}, torch.mul),
    ("Mul", [X, (4, 1)], {}, torch.mul),
    ("Mul", [(1, 1, 5), X], {}, torch.mul),
    ("Mul", [(), X], {}, torch.mul),
    ("Neg", [X], {}, torch.neg),
    ("Pad", [X, ints(0, 1, 0, 0, 2, 3), np.float32(0.5)], {}, lambda x: F.pad(x, (0, 3, 1, 2), value=0.5)),
    ("Pad", [X, ints(0, -1, 2, 0, 0, -1)], {}, lambda x: F.pad(x, (2, -1, -1, 0))),
    ("Pad", [X, ints(1, 2), None, ints(-1)], {}, lambda x: F.pad(x, (1, 2))),
    ("Pow", [X, np.float32(2)], {}, lambda x: x**2),
    ("Pow", [X, np.float32(1.7)], {}, lambda x: x**1.7),
    ("Pow", [X, ints(3)[0]], {}, lambda x: x**3),
    ("Pow", [X, floats(0, 1, 2, 3, -1)], {}, lambda x: x ** torch.tensor([0.0, 1, 2, 3, -1])),
    ("Pow", [X, (5,)], {}, torch.pow),
    ("Reciprocal", [X], {}, torch.reciprocal),
    ("ReduceL2", [X, ints(1)], {"keepdims": 0}, lambda x: x.norm(dim=1)),
    ("ReduceMax", [X, ints(1)], {"keepdims": 0}, lambda x: x.amax(1)),
    ("ReduceMean", [X, ints(1, -1)], {}, lambda x: x.mean(dim=(1, 2), keepdim=True)),
    ("ReduceMean", [X, ints(0, 2)], {"keepdims": 0}, lambda x: x.mean(dim=(0, 2))),
    ("ReduceMean", [X], {"keepdims": 0}, lambda x: x.mean()),
    ("ReduceMin", [X, ints(1, 2)], {}, lambda x: x.amin((1, 2), keepdim=True)),
    ("ReduceSum", [X, ints(1)], {"keepdims": 0}, lambda x: x.sum(1)),
    ("ReduceSum", [X], {}, lambda x: x.sum(dim=(0, 1, 2), keepdim=True)),
    ("ReduceSum", [X, ints()], {"noop_with_empty_axes": 1}, lambda x: x),
    ("Relu", [X], {}, F.relu),
    ("Reshape", [X, ints(0, -1)], {}, lambda x: x.flatten(1)),
    ("Reshape", [X, ints(-1, 5)], {}, lambda x: x.reshape(-1, 5)),
    ("Sigmoid", [X], {}, torch.sigmoid),
    ("Sin", [X], {}, torch.sin),
    ("Slice", [X, ints(1), ints(-1), ints(2)], {}, lambda x: x[:, :, 1:-1]),
    ("Slice", [X, ints(0, 1), ints(2**62, 4), ints(0, 1)], {}, lambda x: x[:, 1:4]),
    ("Slice", [X, ints(1, 0), ints(99, -1), ints(-1, 1), ints(2, 3)], {}, lambda x: x[:, 0:-1:3, 1::2]),
    ("Slice", [X, ints(-1), ints(-(2**62)), ints(2), ints(-1)], {}, lambda x: x.flip(2)),
    ("Slice", [X, ints(3), ints(0), ints(1), ints(-2)], {}, lambda x: x[:, [3, 1]]),
    ("Slice", [X, ints(0), ints(1), ints(0)], {}, lambda x: x[:1]),
    ("Slice", [(4, "N", 5), ints(-1), ints(-(2**62)), ints(1), ints(-2)], {}, lambda x: x.flip(1)[:, ::2]),
    ("Slice", [X, ints(3), ints(3), ints(1)], {}, lambda x: x[:, 3:3]),
    ("Softmax", [X], {"axis": 1}, lambda x: torch.softmax(x, 1)),
    ("Softmax", [X], {}, lambda x: torch.softmax(x, 2)),
    ("Sqrt", [X], {}, torch.sqrt),
    ("Squeeze", [("N", 1, 5), ints(1)], {}, lambda x: x.squeeze(1)),
    ("Sub", [X, (4, 1)], {}, torch.sub),
    ("Sub", [(5,), X], {}, torch.sub),
    ("Sum", [X, (5,), X], {}, lambda a, b, c: a + b + c),
    ("Tanh", [X], {}, torch.tanh),
    ("Tile", [X, ints(1, 2, 3)], {}, lambda x: x.repeat(1, 2, 3)),
    ("Tile", [X, ints(2, 1, 1)], {}, lambda x: x.repeat(2, 1, 1)),
    ("Tile", [X, ints(1, 1, 1)], {}, lambda x: x),
    ("Transpose", [IMAGES], {"perm": [0, 2, 3, 1]}, lambda x: x.permute(0, 2, 3, 1)),
    ("Transpose", [X], {}, lambda x: x.permute(2, 1, 0)),
    ("Unsqueeze", [X, ints(1, -1)], {}, lambda x: x[:, None, ..., None]),
    ("Where", [COLUMNS, X, (4, 1)], {}, lambda a, b: torch.where(torch.from_numpy(COLUMNS), a, b)),
    ("Where", [COLUMNS[None], (), X], {}, lambda a, b: torch.where(torch.from_numpy(COLUMNS), a, b)),
]  # fmt: skip
"""Operator, its inputs, its attributes, and torch's function of the inputs that are not constant."""

SEVERAL = [
    ("Split", [X, ints(1, 3)], {"axis": 1}, lambda x: x.split([1, 3], 1)),
    ("Split", [X], {"axis": -1, "num_outputs": 2}, lambda x: x.split(3, 2)),
]
"""The same with two outputs."""

IN_OTHER_FILES = {"Conv", "MaxPool"}
"""Those that have a file of their own."""

POSITIVE = {"Div", "Log", "Pow", "Reciprocal", "Sqrt"}
"""Operators that are tried on values above zero."""


def drawn(op, inputs, batch, seed=0):
    rng = np.random.default_rng(seed + batch)
    shapes = {
        f"x{i}": [batch if side == "N" else side for side in v] for i, v in enumerate(inputs) if isinstance(v, tuple)
    }
    values = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return {name: np.abs(value) + np.float32(0.5) for name, value in values.items()} if op in POSITIVE else values


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "function", "outputs"),
    [(*case, 1) for case in CASES] + [(*case, 2) for case in SEVERAL],
    ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES + SEVERAL)],
)
def test_each_gradient_is_torchs(op, inputs, attributes, function, outputs):
    wanted = [f"x{i}" for i, value in enumerate(inputs) if isinstance(value, tuple)]
    graph = Graph(with_gradients(one_operator(op, inputs, attributes, outputs), wanted).SerializeToString())
    for batch in (3, 1):
        assert_like_torch(graph, function, drawn(op, inputs, batch), wanted)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "function", "outputs"),
    [(*case, 1) for case in CASES if sum(isinstance(value, tuple) for value in case[1]) > 1],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_of_several_inputs_each_may_be_wanted_alone(op, inputs, attributes, function, outputs):
    every = [f"x{i}" for i, value in enumerate(inputs) if isinstance(value, tuple)]
    both = len(with_gradients(one_operator(op, inputs, attributes, outputs), every).graph.node)
    for name in every:
        model = with_gradients(one_operator(op, inputs, attributes, outputs), [name])
        assert len(model.graph.node) < both
        assert_like_torch(Graph(model.SerializeToString()), function, drawn(op, inputs, 3), [name])


def test_every_operator_that_trains_has_a_rule_and_each_rule_is_tried():
    assert RULES.keys() == TRAINABLE
    assert {case[0] for case in CASES + SEVERAL} | IN_OTHER_FILES == RULES.keys()

"""Rules for any processor: the same numbers, in other operators."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from onnx import helper
from small_graphs import assert_same, copied, drawn, graph_of, operators, run
from torch.nn import functional as F

from reverie.export.rewriting import rewriting

SHAPE = (3, 4, 6, 8)
SPECIAL = np.array([-3e38, -1.0, -1e-37, 0.0, 1e-37, 1e-6, 1.0, 3e38], np.float32)
"""Values where a slope may turn."""


def rewritten(model):
    result = copied(model)
    rewriting.faster(result)
    return result


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0])
def test_leaky_relu_is_the_same_for_every_size_of_value(alpha):
    model = graph_of([helper.make_node("LeakyRelu", ["x"], ["y"], alpha=alpha)], {"x": SHAPE}, ["y"])
    faster = rewritten(model)
    assert ("", "LeakyRelu") not in operators(faster)
    feeds = drawn({"x": SHAPE})
    feeds["x"].ravel()[: len(SPECIAL)] = SPECIAL
    assert_same(run(faster, feeds), run(model, feeds), 0)


def test_leaky_relu_with_a_slope_that_is_no_part_stays():
    model = graph_of([helper.make_node("LeakyRelu", ["x"], ["y"], alpha=-0.5)], {"x": SHAPE}, ["y"])
    assert operators(rewritten(model)) == {("", "LeakyRelu")}


def test_leaky_relu_behind_a_convolution_stays_where_the_engine_fuses_both():
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("LeakyRelu", ["c"], ["y"])]
    model = graph_of(nodes, {"x": SHAPE, "w": (2, 4, 3, 3)}, ["y"])
    assert ("", "LeakyRelu") in operators(rewritten(model))


@pytest.mark.parametrize("order", list(itertools.permutations(range(1, 5))), ids=str)
def test_a_transpose_of_any_order_moves_every_value_to_its_place(order):
    perm = [0, *order]
    model = graph_of([helper.make_node("Transpose", ["x"], ["y"], perm=perm)], {"x": (2, 2, 3, 5, 4)}, ["y"])
    feeds = drawn({"x": (2, 2, 3, 5, 4)})
    assert_same(run(rewritten(model), feeds), {"y": feeds["x"].transpose(perm)}, 0)


@pytest.mark.parametrize("perm", [[0, 1, 4, 2, 5, 3], [0, 1, 3, 5, 2, 4]], ids=["shuffle", "its gradient"])
def test_pixel_shuffle_and_its_gradient_become_products(perm):
    shape = (2, 3, 2, 2, 7, 7) if perm[3] == 2 else (2, 3, 7, 2, 7, 2)
    model = graph_of([helper.make_node("Transpose", ["x"], ["y"], perm=perm)], {"x": shape}, ["y"])
    faster = rewritten(model)
    assert ("", "MatMul") in operators(faster)
    feeds = drawn({"x": shape})
    assert_same(run(faster, feeds), {"y": feeds["x"].transpose(perm)}, 0)


def test_rows_too_long_for_a_product_are_transposed_as_they_were():
    shape = (1, 1, 2, 2, 3, 100)
    model = graph_of([helper.make_node("Transpose", ["x"], ["y"], perm=[0, 1, 4, 2, 5, 3])], {"x": shape}, ["y"])
    assert operators(rewritten(model)) == {("", "Transpose")}


@pytest.mark.parametrize("shared", [False, True])
def test_pooling_comes_before_relu_unless_something_else_needs_relu(shared):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    model = graph_of(nodes, {"x": SHAPE}, ["y", "r"] if shared else ["y"])
    prepared = copied(model)
    rewriting.prepare(prepared)
    kinds = [node.op_type for node in prepared.graph.node]
    assert (kinds.index("MaxPool") < kinds.index("Relu")) is not shared
    feeds = drawn({"x": SHAPE})
    ours = run(prepared, feeds)
    assert_same({"y": ours["y"]}, {"y": F.max_pool2d(F.relu(torch.from_numpy(feeds["x"])), 3, 2, 1).numpy()}, 0)

"""Gradients that meet are added up, those that nobody wants are not computed, and what has none is named."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from own_gradients import with_gradients
from small_graphs import run

from reverie.device_runtime.errors import ExportError
from reverie.export.gradients.reverse import add_gradients

W = np.array([[1, 2], [3, 4], [5, 6]], np.float32)


def model_of(*nodes, inputs=("x",)):
    """x (N, 3) and the initializer w (3, 2) through `nodes`, of which the last gives the loss."""
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in inputs]
    loss = helper.make_tensor_value_info("loss", TensorProto.FLOAT, [])
    made = [helper.make_node(op, names.split(), [output], **how) for op, names, output, how in nodes]
    graph = helper.make_graph(made, "g", given, [loss], [numpy_helper.from_array(W, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


SUM = ("ReduceSum", "y", "loss", {"keepdims": 0})
X = np.array([[1, -2, 3], [0.5, 1, -1]], np.float32)


def test_gradients_that_meet_are_added_up():
    """The loss is Σ (x + 2x + x²)."""
    nodes = [("Add", "x x", "a", {}), ("Mul", "x x", "b", {}), ("Sum", "x a b", "y", {})]
    gradient = run(with_gradients(model_of(*nodes, SUM), ["x"]), {"x": X})["x_grad"]
    np.testing.assert_allclose(gradient, 3 + 2 * X)


def test_what_the_loss_does_not_depend_on_has_a_gradient_of_zeros():
    nodes = [("Identity", "x", "y", {})]
    model = with_gradients(model_of(*nodes, SUM, inputs=("x", "u")), ["x", "u", "w"])
    gradients = run(model, {"x": X, "u": X})
    assert not gradients["u_grad"].any()
    assert gradients["u_grad"].shape == X.shape
    np.testing.assert_array_equal(gradients["w_grad"], np.zeros_like(W))
    np.testing.assert_array_equal(gradients["x_grad"], np.ones_like(X))


def test_what_only_a_comparison_depends_on_has_a_gradient_of_zeros():
    nodes = [("Greater", "x u", "c", {}), ("Where", "c x x", "y", {})]
    gradients = run(with_gradients(model_of(*nodes, SUM, inputs=("x", "u")), ["x", "u"]), {"x": X, "u": -X})
    assert not gradients["u_grad"].any()
    np.testing.assert_array_equal(gradients["x_grad"], np.ones_like(X))


def test_nothing_flows_through_whole_numbers():
    nodes = [("Cast", "x", "i", {"to": TensorProto.INT64}), ("Cast", "i", "f", {"to": 1}), ("Mul", "f x", "y", {})]
    gradients = run(with_gradients(model_of(*nodes, SUM), ["x"]), {"x": X})
    np.testing.assert_array_equal(gradients["x_grad"], np.trunc(X))


def test_doubles_on_the_way_stay_doubles():
    nodes = [
        ("Cast", "x", "d", {"to": TensorProto.DOUBLE}),
        ("Mul", "d d", "s", {}),
        ("Relu", "s", "r", {}),
        ("Cast", "r", "y", {"to": 1}),
    ]
    gradients = run(with_gradients(model_of(*nodes, SUM), ["x"]), {"x": X})
    np.testing.assert_allclose(gradients["x_grad"], 2 * X)


def test_only_the_wanted_is_computed():
    """Of a product of x and w, the gradient of one of them takes one product more."""
    nodes = [("MatMul", "x w", "y", {})]
    for wanted, products in ((["x"], 1), (["w"], 1), (["x", "w"], 2), ([], 0)):
        model = model_of(*nodes, SUM)
        add_gradients(model, wanted)
        assert [node.op_type for node in model.graph.node].count("FusedMatMul") == products


def test_what_is_not_known_is_named_with_its_place():
    model = model_of(("Floor", "x", "f", {}), ("Mul", "x f", "y", {}), SUM)
    model.graph.node[0].name = "solver.floor"
    with pytest.raises(ExportError, match=r"no gradient of Floor at solver\.floor: it has no rule"):
        add_gradients(model, ["x"])


def test_a_use_that_a_rule_does_not_cover_is_named_with_the_reason():
    model = model_of(("Pad", "x pads x", "y", {}), SUM)
    with pytest.raises(ExportError, match=r"no gradient of Pad at an unnamed node: its padding must not be trained"):
        add_gradients(model, ["x"])

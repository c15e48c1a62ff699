"""Where a slope turns, where values overflow and where shapes are broadcast, gradients are torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from own_gradients import assert_like_torch, one_operator, with_gradients
from torch.nn import functional as F

from reverie.device_runtime.engine.graph import Graph

TURNS = np.array(
    [[-np.inf, -3e38, -1, -0.5, -1e-37, 0, 1e-37, 0.5, 1, 5.9999995, 6, 6.0000005, 3e38, np.inf]], np.float32
)
"""Values at which a slope may turn, and such as overflow where they are multiplied."""

KINKED = [
    ("Abs", (), {}, torch.abs),
    ("Clip", (np.float32(0), np.float32(6)), {}, F.relu6),
    ("Clip", (np.float32(-0.5), np.float32(1)), {}, lambda x: x.clamp(-0.5, 1)),
    ("LeakyRelu", (), {"alpha": 0.25}, lambda x: F.leaky_relu(x, 0.25)),
    ("LeakyRelu", (), {"alpha": 2.0}, lambda x: F.leaky_relu(x, 2.0)),
    ("Relu", (), {}, F.relu),
    ("Sigmoid", (), {}, torch.sigmoid),
    ("Tanh", (), {}, torch.tanh),
    ("Max", (np.float32(0.5),), {}, lambda x: torch.maximum(x, torch.tensor(0.5))),
    ("Min", (np.float32(0),), {}, lambda x: torch.minimum(x, torch.tensor(0.0))),
    ("Erf", (), {}, torch.erf),
]  # fmt: skip


@pytest.mark.parametrize(("op", "constants", "attributes", "function"), KINKED)
def test_a_slope_turns_where_torchs_does(op, constants, attributes, function):
    model = with_gradients(one_operator(op, [("N", 14), *constants], attributes), ["x0"])
    assert_like_torch(Graph(model.SerializeToString()), function, {"x0": TURNS}, ["x0"])


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_the_largest_values_share_a_gradient(op):
    x = np.array([[1, 3, 3, 0], [2, 2, 2, 2]], np.float32)
    function = torch.amax if op == "ReduceMax" else torch.amin
    model = with_gradients(one_operator(op, [("N", 4), np.array([1])], {}), ["x0"])
    assert_like_torch(Graph(model.SerializeToString()), lambda x: function(x, 1, keepdim=True), {"x0": x}, ["x0"])


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_equal_inputs_share_a_gradient(op):
    model = with_gradients(one_operator(op, [("N", 3), ("N", 3)], {}), ["x0", "x1"])
    feeds = {"x0": np.array([[1, 2, 3]], np.float32), "x1": np.array([[1, 3, 2]], np.float32)}
    function = torch.maximum if op == "Max" else torch.minimum
    assert_like_torch(Graph(model.SerializeToString()), function, feeds, ["x0", "x1"])


@pytest.mark.parametrize(("op", "function"), [("Softmax", torch.softmax), ("LogSoftmax", torch.log_softmax)])
def test_logits_that_lie_far_apart_have_finite_gradients(op, function):
    x = np.array([[-1e4, 0, 1e4], [1e30, -1e30, 0]], np.float32)
    model = with_gradients(one_operator(op, [("N", 3)], {}), ["x0"])
    assert_like_torch(Graph(model.SerializeToString()), lambda x: function(x, 1), {"x0": x}, ["x0"])


def test_where_a_power_is_0_or_of_0_its_gradient_is_torchs():
    bases, exponents = (m.ravel()[None] for m in np.meshgrid(np.float32([0, 1, 2]), np.float32([0, 1, 1.5, 2])))
    feeds = {"x0": bases, "x1": exponents}
    model = with_gradients(one_operator("Pow", [("N", 12), ("N", 12)], {}), ["x0", "x1"])
    assert_like_torch(Graph(model.SerializeToString()), torch.pow, feeds, ["x0", "x1"])


def test_the_norm_of_zeros_has_no_slope():
    model = with_gradients(one_operator("ReduceL2", [("N", 3), np.array([1])], {}), ["x0"])
    x = np.array([[0, 0, 0], [3, 0, 4]], np.float32)
    assert_like_torch(Graph(model.SerializeToString()), lambda x: x.norm(dim=1, keepdim=True), {"x0": x}, ["x0"])


@st.composite
def broadcast(draw):
    """Two shapes that may meet: of the sides of each, some are 1, and the first ones may be left out."""
    whole = ["N", *draw(st.lists(st.integers(1, 4), max_size=3))]
    each = []
    for _ in range(2):
        sides = [1 if draw(st.booleans()) else side for side in whole]
        each.append(tuple(sides[draw(st.integers(0, len(sides))) :]))
    return each


FUNCTIONS = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Max": torch.maximum}


@settings(deadline=None, max_examples=100)
@given(broadcast(), st.sampled_from(sorted(FUNCTIONS)), st.integers(1, 3))
def test_what_is_broadcast_has_the_sum_of_the_gradients(shapes, op, batch):
    model = with_gradients(one_operator(op, shapes, {}), ["x0", "x1"])
    rng = np.random.default_rng(batch)
    feeds = {
        f"x{i}": rng.uniform(0.5, 2, [batch if side == "N" else side for side in shape]).astype(np.float32)
        for i, shape in enumerate(shapes)
    }
    assert_like_torch(Graph(model.SerializeToString()), FUNCTIONS[op], feeds, ["x0", "x1"])

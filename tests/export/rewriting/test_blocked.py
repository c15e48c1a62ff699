"""Convolution, pooling and their gradients in the blocked layout, on this processor and as if on the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from small_graphs import MICROSOFT, assert_same, drawn, graph_of, operators, run, run_as_if

from reverie.device_runtime.engine.graph import block_size
from reverie.export.graphs.artifacts import give_gradients
from reverie.export.rewriting.blocked import BLOCKS, blocked
from reverie.export.rewriting.blocked_layout import DOMAIN
from reverie.export.rewriting.rewriting import forms as forms_of

HERE = block_size()


def run_blocked(model, feeds, block):
    """Outputs of the form for `block`, on this processor where it is its own."""
    form = blocked(model, block)
    assert DOMAIN in {domain for domain, _ in operators(form)}
    return run(form, feeds) if block == HERE else run_as_if(form, feeds, block)


def graph_with_weights(nodes, feeds, outputs, constant, **constants):
    """A graph to be fed with `feeds`, of which the weights "w" are trained, or `constant`."""
    shapes = {name: value.shape for name, value in feeds.items() if name != "w" or not constant}
    return graph_of(nodes, shapes, outputs, **constants, **({"w": feeds["w"]} if constant else {}))


def assert_engine_folds_weights(form):
    """What depends on constants alone is in operators of the plain layout, which the engine computes once."""
    fed = {value.name for value in form.graph.input}
    for node in form.graph.node:
        if fed.intersection(node.input):
            fed.update(node.output)
        else:
            assert node.domain != DOMAIN


@st.composite
def convolutions(draw):
    """Sizes of a convolution that the kernels take, with inputs of the sizes that it needs."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    strides = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    strides = tuple(min(s, k) for s, k in zip(strides, kernel, strict=True))
    dilation = draw(st.integers(1, 2)) if strides == (1, 1) else 1
    pads = [draw(st.integers(0, dilation * (k - 1))) for k in (*kernel, *kernel)]
    by_channel = draw(st.booleans())
    channels = draw(st.sampled_from([16, 32])) if by_channel else draw(st.sampled_from([1, 3, 4, 8, 12, 16, 20, 40]))
    outputs = channels if by_channel else draw(st.sampled_from([1, 3, 4, 8, 12, 16, 20, 40]))
    sides = [draw(st.integers(dilation * (k - 1) + 1, 9)) for k in kernel]
    attributes = {
        "kernel_shape": kernel, "strides": strides, "dilations": [dilation] * 2, "pads": pads,
        "group": channels if by_channel else 1, "auto_pad": "NOTSET",
    }  # fmt: skip
    inputs = {"x": (draw(st.integers(1, 3)), channels, *sides), "w": (outputs, 1 if by_channel else channels, *kernel)}
    return inputs, attributes


@settings(deadline=None, max_examples=60)
@given(convolutions(), st.sampled_from(BLOCKS), st.sampled_from(["Neg", "Relu", "LeakyRelu", "Clip"]), st.booleans())
def test_a_convolution_gives_the_same_in_every_layout(sizes, block, activation, constant):
    inputs, attributes = sizes
    inputs |= {"b": (inputs["w"][0],)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **attributes)]
    bounds = {"low": -0.5, "high": 1.5} if activation == "Clip" else {}
    nodes.append(helper.make_node(activation, ["c", *bounds], ["y"]))
    feeds = drawn(inputs)
    model = graph_with_weights(nodes, feeds, ["y"], constant, **bounds)
    model.graph.input[-1].type.tensor_type.shape.dim[0].dim_value = inputs["w"][0]
    if constant:
        assert_engine_folds_weights(blocked(model, block))
    assert (("", activation) in operators(blocked(model, block))) == (activation == "Neg")
    assert_same(run_blocked(model, feeds, block), run(model, feeds))


@settings(deadline=None, max_examples=60)
@given(convolutions(), st.sampled_from(BLOCKS), st.booleans())
def test_the_gradient_for_the_input_of_a_convolution_gives_the_same_in_every_layout(sizes, block, constant):
    inputs, attributes = sizes
    forward = graph_of([helper.make_node("Conv", ["x", "w"], ["y"], **attributes)], inputs, ["y"])
    inputs |= {"dy": run(forward, drawn(inputs))["y"].shape}
    node = helper.make_node("ConvGrad", ["dy", "x", "w"], ["dx"], domain=MICROSOFT, **attributes)
    feeds = drawn(inputs, 1)
    model = graph_with_weights([node], feeds, ["dx"], constant)
    model.graph.output[0].type.tensor_type.shape.Clear()
    form = blocked(model, block)
    if (MICROSOFT, "ConvGrad") in operators(form):
        return  # a stride, a dilation and a padding for which the rule leaves it, and nothing else changes
    if constant:
        assert_engine_folds_weights(form)
    assert_same(run(form, feeds) if block == HERE else run_as_if(form, feeds, block), run(model, feeds))


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1)])
def test_the_usual_convolutions_have_a_blocked_gradient_for_their_input(strides):
    inputs = {"dy": (2, 16, -(-9 // strides[0]), -(-9 // strides[1])), "x": (2, 32, 9, 9), "w": (16, 32, 3, 3)}
    attributes = {"kernel_shape": [3, 3], "strides": strides, "pads": [1] * 4, "dilations": [1, 1]}
    node = helper.make_node("ConvGrad", ["dy", "x", "w"], ["dx", "dw", "db"], domain=MICROSOFT, **attributes)
    model = graph_of([node], inputs, ["dx", "dw", "db"])
    for block in BLOCKS:
        (left,) = (n for n in blocked(model, block).graph.node if n.op_type == "ConvGrad")
        assert (left.output[0], bool(left.output[1]), bool(left.output[2])) == ("", True, True)
    if HERE in BLOCKS:
        assert_same(run_blocked(model, drawn(inputs), HERE), run(model, drawn(inputs)))


def pooling_with_gradient(shape):
    high, wide = shape[2] // 2, shape[3] // 2
    how = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0] * 4, "ceil_mode": 0, "dilations": [1, 1]}
    nodes = [
        helper.make_node("MaxPool", ["x"], ["y", "index"], **how),
        helper.make_node("MaxPoolGrad", ["dy", "index"], ["dx"], **how),
    ]
    return nodes, {"x": shape, "dy": (shape[0], shape[1], high, wide)}


def first_of_each_window(x, dy):
    """Where max pooling's gradient goes: to the first of the largest values, row by row."""
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dy.shape):
        window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        at = np.unravel_index(window.argmax(), (2, 2))
        dx[n, c, 2 * i + at[0], 2 * j + at[1]] = dy[n, c, i, j]
    return dx


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(BLOCKS),
    st.integers(1, 2),
    st.sampled_from([16, 32]),
    st.integers(2, 7),
    st.integers(2, 7),
    st.integers(0, 99),
)
def test_max_pooling_and_its_gradient_choose_the_first_of_equal_values(block, count, channels, height, width, seed):
    shape = (count, channels, height, width)
    nodes, inputs = pooling_with_gradient(shape)
    model = graph_of(nodes, inputs, ["y", "dx"])
    feeds = drawn(inputs, seed)
    feeds["x"] = np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)
    form = blocked(model, block)
    assert not {op for _, op in operators(form)} & {"MaxPool", "MaxPoolGrad"}
    ours = run(form, feeds) if block == HERE else run_as_if(form, feeds, block)
    high, wide = height // 2, width // 2
    windows = feeds["x"][:, :, : 2 * high, : 2 * wide].reshape(count, channels, high, 2, wide, 2)
    expected = {"y": windows.max(axis=(3, 5)), "dx": first_of_each_window(feeds["x"], feeds["dy"])}
    assert_same(ours, expected, 0)


def test_what_lies_between_two_convolutions_changes_no_layout():
    inputs = {"x": (2, 16, 6, 6), "w": (16, 16, 3, 3)}
    same = {"kernel_shape": [3, 3], "pads": [1] * 4}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], **same),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Mul", ["a", "b"], ["c"]),
        helper.make_node("Conv", ["c", "w"], ["y"], **same),
    ]
    model = graph_of(nodes, inputs, ["y"])
    for block in BLOCKS:
        kinds = [node.op_type for node in blocked(model, block).graph.node]
        images = kinds.count("ReorderInput") - 2  # that of each Conv's weights
        assert (images, kinds.count("ReorderOutput")) == (1, 1)
        assert_same(run_blocked(model, drawn(inputs), block), run(model, drawn(inputs)))


@pytest.mark.parametrize("channels", [16, 24, 32])
@pytest.mark.parametrize("operator", ["Mul", "Add", "Max"])
def test_what_is_broadcast_over_an_image_is_not_taken_for_one(operator, channels):
    """A gate of one value a channel, as in squeeze-and-excitation: blocked, its values would meet other channels."""
    inputs = {"x": (2, channels, 5, 4), "w": (channels, channels, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["q"], kernel_shape=[1, 1]),
        helper.make_node("Tanh", ["q"], ["gate"]),
        helper.make_node(operator, ["a", "gate"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["y"], kernel_shape=[1, 1]),
    ]
    model = graph_of(nodes, inputs, ["y"])
    for block in BLOCKS:
        assert_same(run_blocked(model, drawn(inputs), block), run(model, drawn(inputs)))


def test_of_two_activations_the_convolution_applies_the_first():
    inputs = {"x": (2, 16, 5, 4), "w": (16, 16, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("LeakyRelu", ["b"], ["c"], alpha=0.1),
        helper.make_node("Clip", ["c", "low", "high"], ["y"]),
    ]
    model = graph_of(nodes, inputs, ["y"], low=0.2, high=0.5)
    for block in BLOCKS:
        assert_same(run_blocked(model, drawn(inputs), block), run(model, drawn(inputs)))


@pytest.mark.parametrize("dilation", [2, 3])
def test_a_dilated_pooling_stays_as_it_is(dilation):
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], dilations=[dilation] * 2)
    for block in BLOCKS:
        assert operators(blocked(graph_of([node], {"x": (2, 48, 9, 9)}, ["y"]), block)) == {("", "MaxPool")}


@pytest.mark.parametrize(
    ("channels", "outputs", "attributes"),
    [
        (16, 32, {"pads": [1] * 4}),
        (32, 16, {"pads": [1] * 4, "strides": [2, 2]}),
        (1, 16, {"pads": [1] * 4}),
        (16, 1, {"pads": [1] * 4}),
        (32, 32, {"pads": [1] * 4, "group": 32}),
        (16, 32, {"kernel_shape": [1, 1]}),
    ],
    ids=["several channels", "stride", "one channel", "one output", "depthwise", "1x1"],
)
def test_gradients_between_blocked_convolutions_are_the_same_in_every_layout(channels, outputs, attributes):
    """The convolution stands between two others, so that its input and its gradient come from the blocked layout."""
    group, kernel = attributes.get("group", 1), attributes.get("kernel_shape", [3, 3])
    shapes = {
        "x": (2, 3, 8, 8), "a": (channels, 3, 1, 1), "w": (outputs, channels // group, *kernel), "b": (outputs,),
        "c": (16, outputs, 1, 1),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"]),
        helper.make_node("Conv", ["p", "w", "b"], ["q"], **attributes),
        helper.make_node("Conv", ["q", "c"], ["r"]),
        helper.make_node("Mul", ["r", "r"], ["s"]),
        helper.make_node("ReduceSum", ["s"], ["loss"], keepdims=0),
    ]
    given = [helper.make_tensor_value_info(n, 1, ["N", *s[1:]] if n == "x" else s) for n, s in shapes.items()]
    graph = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("loss", 1, [])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    give_gradients(model, ["a", "w", "b", "c"])
    forms = forms_of(model, "m.onnx")
    feeds = drawn(shapes)
    expected = run(forms["m.onnx"], feeds)
    for block in BLOCKS:
        form = forms[f"m.blocked{block}.onnx"]
        assert (MICROSOFT, "ConvGrad") not in operators(form)
        ours = run(form, feeds) if block == HERE else run_as_if(form, feeds, block)
        assert_same(ours, expected)

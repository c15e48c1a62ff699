"""Gradients of convolutions and poolings in plain operators, beside torch's: every form for every size it serves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_gradients import assert_like_torch, one_operator, with_gradients
from torch.nn import functional as F

from reverie.device_runtime.engine.graph import Graph

CONVOLUTIONS = {
    "several channels": ((4, 9, 8), (8, 4, 3, 3), {}),
    "padding": ((4, 9, 8), (8, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    "padding that differs": ((4, 9, 8), (8, 4, 3, 2), {"pads": [0, 1, 2, 0]}),
    "stride": ((4, 9, 8), (8, 4, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "strides that differ": ((4, 9, 8), (8, 4, 3, 3), {"strides": [3, 2], "pads": [0, 1, 1, 1]}),
    "dilation": ((4, 9, 8), (8, 4, 3, 3), {"dilations": [2, 3], "pads": [2, 2, 2, 2]}),
    "stride and dilation": ((4, 12, 11), (8, 4, 3, 3), {"dilations": [2, 2], "strides": [2, 3]}),
    "a stride beyond the kernel": ((4, 9, 8), (8, 4, 2, 2), {"strides": [3, 3]}),
    "1x1": ((5, 4, 3), (8, 5, 1, 1), {}),
    "1x1 with a stride": ((5, 4, 3), (8, 5, 1, 1), {"strides": [2, 2]}),
    "one channel": ((1, 9, 8), (8, 1, 3, 3), {"pads": [1, 1, 1, 1]}),
    "one channel with a stride": ((1, 9, 8), (8, 1, 3, 3), {"strides": [2, 1]}),
    "one channel, 1x1": ((1, 4, 3), (3, 1, 1, 1), {}),
    "few outputs": ((6, 9, 8), (2, 6, 3, 3), {"pads": [1, 0, 1, 2]}),
    "few outputs of fewer channels": ((2, 9, 8), (3, 2, 3, 2), {"dilations": [2, 1]}),
    "few outputs with a stride": ((6, 9, 8), (2, 6, 3, 3), {"strides": [2, 2]}),
    "groups": ((6, 9, 8), (4, 3, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
    "groups with a stride": ((6, 9, 8), (4, 3, 3, 3), {"group": 2, "strides": [2, 1]}),
    "depthwise": ((6, 9, 8), (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    "depthwise with a stride": ((6, 9, 8), (6, 1, 3, 3), {"group": 6, "pads": [0, 1, 1, 0], "strides": [2, 3]}),
    "depthwise with dilation": ((6, 9, 8), (6, 1, 2, 3), {"group": 6, "dilations": [3, 2]}),
    "two outputs a channel": ((3, 9, 8), (6, 1, 3, 3), {"group": 3}),
    "a signal": ((4, 9), (8, 4, 3), {"pads": [1, 0], "strides": [2]}),
    "a signal of one channel": ((1, 9), (8, 1, 3), {"pads": [1, 0]}),
    "a signal in groups": ((4, 9), (4, 1, 3), {"group": 4, "dilations": [2]}),
    "few outputs of a signal": ((6, 9), (2, 6, 3), {}),
    "as large": ((4, 9, 8), (8, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
    "valid": ((4, 9, 8), (8, 4, 3, 2), {"auto_pad": "VALID"}),
}
"""What is special → shapes of an input and of the weights, and attributes."""


def convolved(attributes, kernel, sides):
    """Torch's function of x, w and a bias."""
    rank = len(kernel)
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    pads = attributes.get("pads", [0] * 2 * rank)
    if attributes.get("auto_pad", "VALID") == "SAME_UPPER":
        whole = [max((-(-side // s) - 1) * s + k - side, 0) for side, s, k in zip(sides, strides, kernel, strict=True)]
        pads = [*(amount // 2 for amount in whole), *(amount - amount // 2 for amount in whole)]
    around = [amount for axis in reversed(range(rank)) for amount in (pads[axis], pads[axis + rank])]
    function = F.conv1d if rank == 1 else F.conv2d

    def of(x, w, b):
        how = {"stride": strides, "dilation": dilations, "groups": attributes.get("group", 1)}
        return function(F.pad(x, around), w, b, **how)

    return of


def feeds_of(shape, weight, batch):
    rng = np.random.default_rng(batch)
    shapes = {"x0": (batch, *shape), "x1": weight, "x2": weight[:1]}
    return {name: rng.standard_normal(size).astype(np.float32) for name, size in shapes.items()}


def check(shape, weight, attributes, wanted=("x0", "x1", "x2"), batches=(3, 1)):
    function = convolved(attributes, weight[2:], shape[1:])
    model = one_operator("Conv", [("N", *shape), weight, weight[:1]], attributes)
    graph = Graph(with_gradients(model, wanted).SerializeToString())
    for batch in batches:
        assert_like_torch(graph, function, feeds_of(shape, weight, batch), wanted)
    return model


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_the_three_gradients_of_a_convolution_are_torchs(case):
    check(*CONVOLUTIONS[case])


@pytest.mark.parametrize("wanted", [["x0"], ["x1"], ["x2"], ["x1", "x2"]], ids="+".join)
def test_only_those_that_are_wanted_are_computed(wanted):
    model = check(*CONVOLUTIONS["padding"], wanted)
    kinds = [node.op_type for node in model.graph.node]
    assert ("ConvTranspose" in kinds, "MatMul" in kinds) == ("x0" in wanted, "x1" in wanted)


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 2))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    dilations, strides = ([draw(st.integers(1, 3)) for _ in range(rank)] for _ in range(2))
    pads = [draw(st.integers(0, 3)) for _ in range(2 * rank)]
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
    sides = [draw(st.integers(max(1, span - pads[i] - pads[i + rank]), 12)) for i, span in enumerate(spans)]
    group = draw(st.integers(1, 3))
    inputs, outputs = draw(st.sampled_from([1, 2, 9])), draw(st.sampled_from([1, 3, 8]))
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": group}
    return (group * inputs, *sides), (group * outputs, inputs, *kernel), attributes


@settings(deadline=None, max_examples=80)
@given(convolutions())
def test_convolutions_of_any_size_have_torchs_gradients(sizes):
    check(*sizes, batches=(2,))


POOLS = {
    "apart": ((8, 6), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "apart, some left over": ((9, 7), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "farther apart": ((9, 8), {"kernel_shape": [2, 1], "strides": [3, 2]}),
    "overlapping": ((8, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "overlapping in one direction": ((8, 6), {"kernel_shape": [2, 3], "strides": [2, 1]}),
    "every place": ((8, 6), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "padded": ((8, 6), {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "dilated": ((9, 9), {"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [3, 2]}),
    "rounded up": ((7, 7), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "a signal": ((9,), {"kernel_shape": [2], "strides": [2]}),
    "an overlapping signal": ((9,), {"kernel_shape": [3], "strides": [1]}),
}


@pytest.mark.parametrize("ties", [False, True], ids=["", "ties"])
@pytest.mark.parametrize("case", POOLS)
def test_the_gradient_of_max_pooling_is_torchs_also_where_values_are_equal(case, ties):
    sides, attributes = POOLS[case]
    kernel, rank = attributes["kernel_shape"], len(sides)
    pads = attributes.get("pads", [0] * 2 * rank)[:rank]
    pool = F.max_pool1d if rank == 1 else F.max_pool2d

    def function(x):
        how = {"dilation": attributes.get("dilations", 1), "ceil_mode": bool(attributes.get("ceil_mode", 0))}
        return pool(x, kernel, attributes.get("strides", 1), pads, **how)

    graph = Graph(with_gradients(one_operator("MaxPool", [("N", 3, *sides)], attributes), ["x0"]).SerializeToString())
    for batch in (3, 1):
        rng = np.random.default_rng(batch)
        x = rng.standard_normal((batch, 3, *sides)).astype(np.float32)
        assert_like_torch(graph, function, {"x0": np.round(x) if ties else x}, ["x0"])

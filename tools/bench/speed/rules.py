"""What each rewriting rule gains alone, and how near convolutions come to what the processor can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from reverie.device_runtime.engine.graph import Graph, block_size
from reverie.export.gradients.placeholders import write_out
from reverie.export.rewriting import rewriting
from reverie.export.rewriting.blocked import blocked
from reverie.tools.bench.speed.product import gflops, large_product
from reverie.tools.bench.speed.turns import by_turns

MICROSOFT = "com.microsoft"
COUNT = 64
"""Images in a batch."""


class RuleTimes(NamedTuple):
    """Median milliseconds of a small graph before and after a rule; and operations a second where they are counted."""

    rule: str
    on: str
    before: float
    after: float
    gflops: float | None
    """Afterwards."""


class Case(NamedTuple):
    """A small graph, the rule that rewrites it, and its number of floating point operations, or 0."""

    rule: str
    nodes: list[NodeProto]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: list[str]
    rewrite: Callable[[onnx.ModelProto], onnx.ModelProto]
    operations: float = 0.0


def measure_rules(repeats: int) -> tuple[list[RuleTimes], float]:
    """Each rule on this process's cores, and the GFLOP/s of a large matrix product beside them."""
    product = large_product()
    rows, peaks = [], []
    for case in _cases():
        steps = {"before": _runner(case, _plain), "after": _runner(case, case.rewrite)}
        times = by_turns(steps | {"product": product}, repeats)
        peaks.append(gflops(times["product"]))
        rate = case.operations / times["after"] / 1e6 if case.operations else None
        shape = "x".join(map(str, case.inputs["x"]))
        rows.append(RuleTimes(case.rule, shape, times["before"], times["after"], rate))
    return rows, float(np.median(peaks))


def _runner(case: Case, rewrite: Callable[[onnx.ModelProto], onnx.ModelProto]) -> Callable[[], object]:
    described = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in case.inputs.items()]
    # The engine's gradient of pooling takes its size from what is declared.
    made = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, case.inputs["x"] if name == "dx" else None)
        for name in case.outputs
    ]
    graph = helper.make_graph(case.nodes, "g", described, made)
    opsets = [helper.make_opsetid(domain, version) for domain, version in (("", 18), (MICROSOFT, 1))]
    session = Graph(rewrite(helper.make_model(graph, opset_imports=opsets, ir_version=10)).SerializeToString())
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in case.inputs.items()}
    return lambda: session.run(feeds)


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    write_out(model)
    return model


def _faster(model: onnx.ModelProto) -> onnx.ModelProto:
    rewriting.prepare(model)
    rewriting.faster(model)
    return model


def _blocked(model: onnx.ModelProto) -> onnx.ModelProto:
    return _plain(blocked(model, block_size()))


def _cases() -> list[Case]:
    wide = (COUNT, 16, 28, 28)
    make = helper.make_node
    pool: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    shuffle = make("Transpose", ["x"], ["y"], perm=[0, 1, 4, 2, 5, 3])
    weave_back = make("Transpose", ["x"], ["y"], perm=[0, 1, 3, 5, 2, 4])
    small = {"x": wide, "dy": (COUNT, 16, 14, 14)}
    cases = [
        Case("leaky ReLU", [make("LeakyRelu", ["x"], ["y"], alpha=0.2)], {"x": wide}, ["y"], _faster),
        Case("pixel shuffle", [shuffle], {"x": (COUNT, 16, 2, 2, 14, 14)}, ["y"], _faster),
        Case("pixel shuffle, gradient", [weave_back], {"x": (COUNT, 16, 14, 2, 14, 2)}, ["y"], _faster),
        Case(
            "ReLU and max pooling",
            [make("Relu", ["x"], ["r"]), make("MaxPool", ["r"], ["y"], **pool)],
            {"x": wide},
            ["y"],
            _faster,
        ),
    ]
    if block_size() == 1:
        return cases
    both = [
        make("MaxPool", ["x"], ["y", "index"], **pool),
        make("MaxPoolGrad", ["dy", "index"], ["dx"], **pool),
    ]
    cases.append(Case("max pooling, gradient", both, small, ["y", "dx"], _blocked))
    for outputs, inputs, side, stride, group in (
        (64, 32, 14, 1, 1),
        (128, 64, 7, 1, 1),
        (64, 32, 14, 2, 1),
        (64, 64, 16, 1, 64),
    ):
        cases += _convolutions(outputs, inputs, side, stride, group)
    return cases


def _convolutions(outputs: int, inputs: int, side: int, stride: int, group: int) -> list[Case]:
    """A 3x3 convolution, the gradient for its input, and that for its weights, which no rule rewrites."""
    how: dict[str, Any] = {
        "kernel_shape": [3, 3],
        "pads": [1] * 4,
        "strides": [stride] * 2,
        "dilations": [1, 1],
        "group": group,
    }
    to = -(-side // stride)
    x, weight, dy = (COUNT, inputs, side, side), (outputs, inputs // group, 3, 3), (COUNT, outputs, to, to)
    operations = 2.0 * COUNT * outputs * to * to * (inputs // group) * 9
    kind = "depthwise" if group > 1 else f"convolution, stride {stride}"
    forward = helper.make_node("Conv", ["x", "w"], ["y"], **how)
    backward = helper.make_node("ConvGrad", ["dy", "x", "w"], ["dx"], domain=MICROSOFT, **how)
    of_weights = helper.make_node("ConvGrad", ["dy", "x", "w"], ["", "dw"], domain=MICROSOFT, **how)
    shapes = {"x": x, "w": weight}
    return [
        Case(kind, [forward], shapes, ["y"], _blocked, operations),
        Case(f"{kind}, input", [backward], {"dy": dy} | shapes, ["dx"], _blocked, operations),
        Case(f"{kind}, weights", [of_weights], {"dy": dy} | shapes, ["dw"], _plain, operations),
    ]

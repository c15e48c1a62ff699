"""Each operator of a file, evaluated in torch beside onnxruntime, with the attributes that make it differ."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_files import graph_file

from reverie.export.from_onnx.solver import OnnxSolver, compare_with_file
from reverie.export.lowering import operators
from reverie.export.lowering.rules import RULES

CHANNELS, SIDE = 4, 6
FLOAT, INT = np.float32, np.int64
DRAW = np.random.default_rng(0)


def floats(*shape):
    return DRAW.normal(size=shape).astype(FLOAT)


def ints(*numbers):
    return np.array(numbers, INT)


ONES = np.full(CHANNELS, 1.5, FLOAT)
POSITIVE = np.abs(floats(CHANNELS)) + FLOAT(0.5)
KERNEL, TURNED = floats(6, CHANNELS, 3, 3), floats(CHANNELS, 3, 3, 3)
ONE_VALUE = ["Abs", "Atan", "Cos", "Sin", "Erf", "Exp", "HardSwish", "Identity", "Mish", "Neg", "Relu", "Sigmoid",
             "Softplus", "Tanh", "GlobalAveragePool", "GlobalMaxPool", "Flatten"]  # fmt: skip
CASES = [
    *((name, [], {}) for name in ONE_VALUE),
    *((name, [floats(CHANNELS, 1, 1)], {}) for name in ("Add", "Sub", "Mul", "Max", "Min", "Sum", "PRelu")),
    *((name, [np.asarray(2.5, FLOAT)], {}) for name in ("Add", "Div", "Mul", "Max", "Min")),
    ("Div", [POSITIVE.reshape(-1, 1, 1)], {}),
    ("Pow", [np.asarray(2.0, FLOAT)], {}),
    ("Clip", [np.asarray(-0.5, FLOAT), np.asarray(0.7, FLOAT)], {}),
    ("Clip", ["", np.asarray(0.7, FLOAT)], {}),
    ("Celu", [], {"alpha": 0.7}),
    ("Elu", [], {"alpha": 0.7}),
    ("Selu", [], {}),
    ("Selu", [], {"alpha": 1.5, "gamma": 0.8}),
    ("LeakyRelu", [], {"alpha": 0.3}),
    ("HardSigmoid", [], {"alpha": 0.3, "beta": 0.4}),
    ("Softmax", [], {"axis": 1}),
    ("LogSoftmax", [], {}),
    ("Dropout", [np.asarray(0.5, FLOAT)], {}),
    ("Conv", [KERNEL, floats(6)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", [KERNEL], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", [KERNEL], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", [KERNEL], {"auto_pad": "VALID", "dilations": [2, 1]}),
    ("Conv", [floats(4, 1, 3, 3)], {"group": 4, "pads": [1, 1, 1, 1]}),
    ("ConvTranspose", [TURNED, floats(3)], {"strides": [2, 2], "pads": [1, 0, 0, 1]}),
    ("ConvTranspose", [TURNED], {"strides": [2, 3], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("MaxPool", [], {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}),
    ("MaxPool", [], {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    ("AveragePool", [], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [0, 0, 1, 1], "count_include_pad": 1}),
    ("BatchNormalization", [ONES, floats(4), floats(4), POSITIVE], {"epsilon": 0.1}),
    ("InstanceNormalization", [ONES, floats(4)], {"epsilon": 0.1}),
    ("LayerNormalization", [floats(SIDE), floats(SIDE)], {}),
    ("LayerNormalization", [floats(SIDE, SIDE)], {"axis": 2}),
    ("GroupNormalization", [floats(2), floats(2)], {"num_groups": 2}),
    ("MatMul", [floats(SIDE, 3)], {}),
    ("ReduceMax", [ints(1)], {"keepdims": 0}),
    ("ReduceL2", [ints(1, 2)], {}),
    ("ReduceMin", [ints(3)], {"keepdims": 0}),
    ("CumSum", [np.asarray(2, INT)], {}),
    ("CumSum", [np.asarray(-1, INT)], {"exclusive": 1, "reverse": 1}),
    ("ReduceMean", [ints(2, -1)], {}),
    ("ReduceSum", [ints(1)], {}),
    ("ReduceMean", [ints()], {"noop_with_empty_axes": 1}),
    ("Concat", [], {"axis": 1}),
    ("DepthToSpace", [], {"blocksize": 2}),
    ("DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", [], {"blocksize": 2}),
    ("Gather", [ints(2, 0, -1)], {"axis": 1}),
    ("Gather", [np.asarray(-1, INT)], {"axis": 2}),
    ("Gather", [ints(0, 1, 2, 3).reshape(2, 2)], {"axis": 3}),
    ("Slice", [ints(1, 0), ints(2**31, -1), ints(1, 2)], {}),
    ("Slice", [ints(0), ints(6), ints(3), ints(2)], {}),
    ("Pad", [ints(0, 0, 1, 2, 0, 0, 3, 0), np.asarray(0.5, FLOAT)], {}),
    ("Pad", [ints(1, 2, 3, 0), "", ints(2, 3)], {"mode": "reflect"}),
    ("Pad", [ints(0, 1, 1, 2, 0, 0, 3, 0)], {"mode": "edge"}),
    ("Resize", ["", np.array([1, 1, 2, 2], FLOAT)], {"mode": "nearest"}),
    ("Resize", ["", np.array([1, 1, 2, 1.5], FLOAT)],
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("Resize", ["", "", ints(0, 4, 9, 4)], {"mode": "cubic", "coordinate_transformation_mode": "half_pixel"}),
    ("Resize", ["", np.array([1, 1, 3, 2], FLOAT)], {"mode": "nearest", "nearest_mode": "floor",
                                                    "coordinate_transformation_mode": "asymmetric"}),
    ("Reshape", [ints(0, 2, -1, 3)], {}),
    ("Reshape", [ints(-1, 8, 18)], {}),
    ("Unsqueeze", [ints(1, -1)], {}),
    ("Tile", [ints(1, 2, 1, 3)], {}),
    ("Transpose", [], {"perm": [0, 2, 3, 1]}),
    ("Expand", [ints(1, 4, 1, 6)], {}),
]  # fmt: skip


def evaluated(path, nodes, weights, shape=("n", CHANNELS, SIDE, SIDE)):
    """Difference between torch and onnxruntime of a file whose result, made of v, has one row an image."""
    graph_file(path, [*nodes, helper.make_node("Flatten", ["v"], ["y"])], weights, shape)
    return compare_with_file(OnnxSolver(path, (CHANNELS, SIDE, SIDE)).eval()).relative


@pytest.mark.parametrize("batch", ["n", 1, 2])
@pytest.mark.parametrize(
    ("operator", "inputs", "attributes"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_operator_computes_in_torch_what_onnxruntime_computes(operator, inputs, attributes, batch, tmp_path):
    names = [f"c{at}" if isinstance(value, np.ndarray) else "" for at, value in enumerate(inputs)]
    weights = {name: value for name, value in zip(names, inputs, strict=True) if name}
    if operator == "Resize" and "c2" in weights:
        weights["c2"][0] = batch if isinstance(batch, int) else 3
        batch = int(weights["c2"][0])
    node = helper.make_node(operator, ["x", *names], ["v"], **attributes)
    assert evaluated(tmp_path / "model.onnx", [node], weights, (batch, CHANNELS, SIDE, SIDE)) < 1e-5


GRAPHS = {
    "shape": [
        ("Shape", ["x"], "s", {}),
        ("Gather", ["s", "zero"], "n", {}),
        ("Unsqueeze", ["n", "first"], "n1", {}),
        ("Concat", ["n1", "rest"], "to", {"axis": 0}),
        ("Reshape", ["x", "to"], "v", {}),
    ],
    "expand": [("Shape", ["x"], "s", {}), ("ConstantOfShape", ["s"], "z", {}), ("Add", ["z", "x"], "v", {})],
    "size": [
        ("Shape", ["x"], "s", {"start": 2, "end": 4}),
        ("Cast", ["s"], "f", {"to": 1}),
        ("Sqrt", ["f"], "r", {}),
        ("ReduceSum", ["r"], "all", {"keepdims": 0}),
        ("Div", ["x", "all"], "v", {}),
    ],
    "half": [
        ("Shape", ["x"], "s", {}),
        ("Slice", ["s", "two", "three"], "h", {}),
        ("Div", ["h", "two"], "half", {}),
        ("Slice", ["x", "first", "half", "two"], "v", {}),
    ],
    "compare": [
        ("Greater", ["x", "bias"], "above", {}),
        ("LessOrEqual", ["x", "number"], "below", {}),
        ("And", ["above", "below"], "both", {}),
        ("Not", ["both"], "other", {}),
        ("Xor", ["above", "other"], "either", {}),
        ("Or", ["either", "below"], "chosen", {}),
        ("Where", ["chosen", "x", "number"], "v", {}),
    ],
    "places": [
        ("ArgMax", ["x"], "largest", {"axis": 1, "keepdims": 1}),
        ("Cast", ["largest"], "a", {"to": 1}),
        ("ArgMin", ["x"], "smallest", {"axis": 1}),
        ("CastLike", ["smallest", "a"], "b", {}),
        ("Less", ["a", "b"], "less", {}),
        ("GreaterOrEqual", ["a", "b"], "not_less", {}),
        ("Equal", ["less", "not_less"], "never", {}),
        ("Cast", ["never"], "none", {"to": 1}),
        ("Concat", ["a", "none", "b"], "v", {"axis": 1}),
    ],
    "positive": [
        ("Mul", ["x", "x"], "square", {}),
        ("Add", ["square", "number"], "p", {}),
        ("Log", ["p"], "l", {}),
        ("Sqrt", ["p"], "r", {}),
        ("Reciprocal", ["p"], "i", {}),
        ("Sum", ["l", "r", "i"], "v", {}),
    ],
    "range": [
        ("Size", ["rest"], "n", {}),
        ("Range", ["zero", "n", "one"], "r", {}),
        ("Gather", ["x", "r"], "v", {"axis": 1}),
    ],
    "gemm": [("Flatten", ["x"], "f", {}), ("Gemm", ["f", "matrix", "row"], "v", {"alpha": 0.5, "beta": 2.0})],
    "sequence": [("SplitToSequence", ["x", "parts"], "q", {"axis": 1}), ("SequenceAt", ["q", "one"], "v", {})],
    "squeeze": [("ReduceMean", ["x", "two"], "m", {}), ("Squeeze", ["m", "two"], "v", {})],
}
CONSTANTS = {
    "zero": np.asarray(0), "one": np.asarray(1), "first": ints(0), "two": ints(2), "three": ints(3),
    "rest": ints(-1, 3), "bias": floats(CHANNELS, 1, 1), "number": np.asarray(0.5, FLOAT), "parts": ints(1, 3),
    "matrix": floats(CHANNELS * SIDE * SIDE, 3), "row": floats(1, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_sizes_and_comparisons_are_computed_as_in_onnxruntime(name, tmp_path):
    nodes = [helper.make_node(op, inputs, [output], **how) for op, inputs, output, how in GRAPHS[name]]
    used = {source for _, inputs, _, _ in GRAPHS[name] for source in inputs}
    weights = {key: value for key, value in CONSTANTS.items() if key in used}
    assert evaluated(tmp_path / "model.onnx", nodes, weights) < 1e-5


@pytest.mark.parametrize("sizes", [None, [1, 2, 1], [3, 1]])
def test_a_split_gives_every_part(sizes, tmp_path):
    parts = [f"p{at}" for at in range(len(sizes or (1, 1)))]
    split = helper.make_node(
        "Split", ["x", *(["sizes"] if sizes else [])], parts, axis=1, **({} if sizes else {"num_outputs": 2})
    )
    nodes = [split, helper.make_node("Concat", parts[::-1], ["v"], axis=1)]
    assert evaluated(tmp_path / "model.onnx", nodes, {"sizes": ints(*sizes)} if sizes else {}) < 1e-5


def test_every_operator_has_a_case():
    tried = (
        {case[0] for case in CASES} | {node[0] for nodes in GRAPHS.values() for node in nodes} | {"Split", "Constant"}
    )
    assert tried >= operators.TRAINABLE | operators.WITHOUT_GRADIENT | RULES.keys()

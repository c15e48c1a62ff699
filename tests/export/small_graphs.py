"""Graphs of a few nodes, run before and after they are rewritten, also for processors other than this one."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from reverie.device_runtime.engine.graph import Graph
from reverie.export.gradients.placeholders import write_out
from reverie.export.rewriting.blocked_layout import DOMAIN

MICROSOFT = "com.microsoft"


def graph_of(nodes, inputs, outputs, **constants):
    """A model of `nodes`; `inputs` are shapes by name, whose first axis is the batch. `constants` are float32."""
    described = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, *shape[1:]] if name != "w" else shape)
        for name, shape in inputs.items()
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1), helper.make_opsetid(DOMAIN, 1)]
    kept = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", described, made, kept)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def drawn(inputs, seed=0):
    """Random values for `inputs`, none of them 0."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in inputs.items()}


def run(model, feeds):
    """Outputs on this machine's engine, with the gradients that no rule has rewritten in plain operators."""
    plain = copied(model)
    write_out(plain)
    return Graph(plain.SerializeToString()).run(feeds)


def operators(model):
    """What a model consists of, as (domain, operator)."""
    return {(node.domain, node.op_type) for node in model.graph.node}


def assert_same(ours, theirs, tolerance=1e-5):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].shape == value.shape
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=tolerance * max(1.0, np.abs(value).max()))


def run_as_if(model, feeds, block):
    """Outputs on a processor with `block` channels a block, by what the kernels there are documented to do."""

    def to_blocked(x):
        count, channels, height, width = x.shape
        whole = np.zeros((count, -(-channels // block) * block, height, width), np.float32)
        whole[:, :channels] = x
        apart = whole.reshape(count, -1, block, height, width)
        return apart.transpose(0, 1, 3, 4, 2).reshape(whole.shape)

    def to_plain(x, channels):
        count, _, height, width = x.shape
        apart = x.reshape(count, -1, height, width, block)
        return apart.transpose(0, 1, 4, 2, 3).reshape(x.shape)[:, :channels]

    class ReorderInput(OpRun):
        op_domain = DOMAIN

        def _run(self, x):
            assert x.shape[1] % 4 == 0
            return (to_blocked(x),)

    class ReorderOutput(OpRun):
        op_domain = DOMAIN

        def _run(self, x, channels, channels_last=None):
            plain = to_plain(x, channels)
            return (plain.transpose(0, 2, 3, 1) if channels_last else plain,)

    class Conv(OpRun):
        op_domain = DOMAIN
        op_schema = None  # not that of the standard operator of the same name

        def _run(self, x, w, bias=None, *, kernel_shape, pads, strides=None, dilations=None, group=None,
                 activation=None, activation_params=None):  # fmt: skip
            outputs, inputs, *kernel = w.shape
            group = group or 1
            assert outputs % block == 0
            assert list(kernel_shape) == kernel
            if inputs >= block:
                assert inputs % block == 0
                apart = w.reshape(outputs // block, inputs // block, *kernel, block, block)
                weight = apart.transpose(0, 5, 1, 4, 2, 3).reshape(w.shape)
            else:
                weight = w.reshape(outputs // block, inputs, *kernel, block).transpose(0, 4, 1, 2, 3).reshape(w.shape)
            plain = x if inputs < block and group == 1 else to_plain(x, x.shape[1])
            top, left, bottom, right = pads
            padded = np.pad(plain, ((0, 0), (0, 0), (top, bottom), (left, right)))
            tensors = (torch.from_numpy(np.ascontiguousarray(value)) for value in (padded, weight))
            y = torch.conv2d(
                *tensors, None if bias is None else torch.from_numpy(bias.copy()),
                stride=list(strides or (1, 1)), dilation=list(dilations or (1, 1)), groups=group,
            )  # fmt: skip
            if activation == "Clip":
                return (to_blocked(y.clamp(*activation_params).numpy()),)
            slope = {None: 1.0, "Relu": 0.0, "LeakyRelu": (activation_params or [0])[0]}[activation]
            return (to_blocked(torch.where(y > 0, y, slope * y).numpy()),)

    class FusedMatMul(OpRun):
        op_domain = MICROSOFT

        def _run(self, a, b, transA=None, transB=None):
            return (np.matmul(a.swapaxes(-1, -2) if transA else a, b.swapaxes(-1, -2) if transB else b),)

    evaluator = ReferenceEvaluator(model, new_ops=[ReorderInput, ReorderOutput, Conv, FusedMatMul])
    with np.errstate(over="ignore"):  # steep slopes, which are cut off
        outputs = evaluator.run(None, feeds)
    return dict(zip([output.name for output in model.graph.output], outputs, strict=True))


def copied(model):
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result

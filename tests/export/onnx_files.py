"""Files in ONNX format for tests: as torch's exporters and Keras write them, and with a node of choice."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from own_export import Own
from torch import nn
from torch.nn import functional as F

from reverie.export.graphs.quiet import quiet_stderr

IMAGES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


class Normed(nn.Module):
    """Batch normalization behind an addition, so that no exporter folds it away; a learnt scale; a linear head."""

    def __init__(self, classes=3):
        super().__init__()
        self.stem, self.side = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.rand(4, 1, 1) + 0.5)
        self.head = nn.Linear(64, classes)
        self.norm.running_mean.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
        self.norm.running_var.copy_(torch.tensor([0.5, 1.0, 2.0, 1.5]))

    def forward(self, images):
        x = F.hardswish(self.norm(self.stem(images) + self.side(images))) * self.scale
        return self.head(F.avg_pool2d(x, 2).flatten(1))


def write(network, path, opset=18, fixed=False, dynamo=False, example=IMAGES[:1], **how):
    """`network` as torch's exporters write it."""
    network = network.eval()
    with quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            free = {} if fixed else {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
            images = example if fixed else torch.cat([example, example])
            torch.onnx.export(
                network,
                (images,),
                path,
                dynamo=True,
                opset_version=opset,
                verbose=False,
                **{"external_data": False} | how,
                **free,
            )
        else:
            axes = None if fixed else {"images": {0: "n"}}
            torch.onnx.export(
                network,
                (example,),
                path,
                dynamo=False,
                opset_version=opset,
                input_names=["images"],
                dynamic_axes=axes,
                **how,
            )
    return path


def graph_file(path, nodes, weights, shape=("n", 1, 8, 8), outputs=("y",), opset=18, kind=TensorProto.FLOAT):
    """A file with the input x and the nodes given; `weights` are its initialisers."""
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, (None, None)) for output in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)], ir_version=8
    )
    onnx.save(model, path)
    return path


def keras_file(path, last="Softmax", shape=("n", 8, 8, 1)):
    """As Keras models are written: channels last, names with slashes, a linear layer in two nodes, a softmax."""
    rng = np.random.default_rng(0)
    weights = {
        "model/conv/Conv2D/ReadVariableOp:0": rng.normal(size=(2, 1, 3, 3)).astype(np.float32),
        "model/conv/BiasAdd/ReadVariableOp:0": rng.normal(size=2).astype(np.float32),
        "model/dense/MatMul/ReadVariableOp:0": rng.normal(size=(32, 3)).astype(np.float32),
        "model/dense/BiasAdd/ReadVariableOp:0": rng.normal(size=3).astype(np.float32),
        "flat": np.array([-1, 32]),
    }
    convolution, bias, kernel, offset, flat = weights
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2], name="model/conv/Transpose"),
        helper.make_node("Conv", ["t", convolution, bias], ["c"], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Transpose", ["c"], ["back"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["back", flat], ["f"]),
        helper.make_node("MatMul", ["f", kernel], ["m"], name="model/dense/MatMul"),
        helper.make_node("Add", ["m", offset], ["logits"]),
        helper.make_node(last, ["logits"], ["y"]),
    ]
    return graph_file(path, nodes, weights, shape, opset=13)


def linear(x="x", flat=64, classes=3):
    """Nodes and weights that make logits of the value `x`."""
    weight = np.random.default_rng(5).normal(size=(flat, classes)).astype(np.float32)
    return (
        [helper.make_node("Flatten", [x], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"], name="head")],
        {"w": weight},
    )


def file_with(path, node, flat=64, more=(), **weights):
    """A file in which `node`, from x to v, comes before the linear layer."""
    nodes, own = linear("v", flat)
    return graph_file(path, [*more, node, *nodes], own | weights)


class OwnFile(Own):
    """`reverie export` with a solver in ONNX format."""

    def __init__(self, own, file):
        self.folder, self._reverie, self._refused, self.saved = own.folder, own._reverie, own._refused, own.saved
        self.file = file

    def options(self, **changes):
        return super().options(**{"solver": self.file, "solver_weights": None} | changes)

"""Each rule of the lowering beside torch: forward and every gradient, at two image shapes and two batch sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training import Apply, assert_trains_like_torch, training_artifacts
from workstation_support import TinySolver, device_gradients, example, weights_of

from reverie.device_runtime.bundle.contents import training_graph
from reverie.device_runtime.engine.train_step import TrainStep
from reverie.export.lowering.rules import RULES

pytestmark = pytest.mark.slow

torch.manual_seed(0)


def with_statistics(layer):
    """A batch normalization as training leaves it."""
    draw = torch.Generator().manual_seed(4)
    layer.running_mean.copy_(torch.randn(layer.running_mean.shape, generator=draw))
    layer.running_var.copy_(0.5 + torch.rand(layer.running_var.shape, generator=draw))
    return layer


def redrawn(layer):
    """A layer whose scale, bias and slope are not what they start as."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    return layer


LAYERS = [
    ("BatchNormalization", redrawn(with_statistics(nn.BatchNorm2d(2)))),
    ("BatchNormalization", with_statistics(nn.BatchNorm2d(2, affine=False, eps=0.1))),
    ("InstanceNormalization", redrawn(nn.InstanceNorm2d(2, affine=True))),
    ("InstanceNormalization", redrawn(nn.GroupNorm(1, 2))),
    ("InstanceNormalization", redrawn(nn.GroupNorm(2, 2, eps=0.01))),
    ("LayerNormalization", redrawn(nn.LayerNorm(6))),
    ("LayerNormalization", nn.LayerNorm(6, elementwise_affine=False)),
    ("ConvTranspose", nn.ConvTranspose2d(2, 3, 2, stride=2)),
    ("ConvTranspose", nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1)),
    ("ConvTranspose", nn.ConvTranspose2d(2, 4, 3, stride=(2, 3), padding=1, output_padding=1, groups=2)),
    ("ConvTranspose", nn.ConvTranspose2d(2, 3, 3, dilation=2, bias=False)),
    ("ConvTranspose", nn.ConvTranspose2d(2, 3, 2, padding=3, stride=3)),
    ("Resize", nn.Upsample(scale_factor=2)),
    ("Resize", nn.Upsample(scale_factor=2, mode="bilinear")),
    ("Resize", nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
    ("Resize", nn.Upsample(size=(5, 11), mode="bilinear")),
    ("Resize", nn.Upsample(scale_factor=1.5, mode="bicubic")),
    ("DepthToSpace", nn.Sequential(nn.Conv2d(2, 8, 1), nn.PixelShuffle(2))),
    ("HardSwish", nn.Hardswish()),
    ("HardSigmoid", nn.Hardsigmoid()),
    ("PRelu", nn.PReLU()),
    ("PRelu", nn.PReLU(2)),
    ("Elu", nn.ELU(0.7)),
    ("Celu", nn.CELU(0.7)),
    ("Selu", nn.SELU()),
    ("Softplus", nn.Softplus()),
    ("Softplus", nn.Softplus(beta=2.0, threshold=1.0)),
    ("Mish", nn.Mish()),
    ("Pad", nn.ReflectionPad2d((1, 2, 3, 0))),
    ("Pad", nn.ReplicationPad2d((1, 0, 2, 1))),
    ("Pad", nn.CircularPad2d(1)),
    ("SequenceAt", Apply(lambda x: torch.split(x, 3, dim=2)[1])),
    ("SequenceAt", Apply(lambda x: torch.split(x, [1, 5], dim=3)[1])),
    ("SequenceAt", Apply(lambda x: torch.mul(*x.chunk(2, dim=1)))),
    ("Slice", Apply(lambda x: x[:, :, 1:, :-1])),
    ("AveragePool", nn.AvgPool2d(2)),
    ("AveragePool", nn.AvgPool2d(3, stride=2, padding=1)),
    ("AveragePool", nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)),
    ("AveragePool", nn.AdaptiveAvgPool2d((2, 3))),
    ("MatMul", Apply(lambda x: x * torch.mv(x[:, 0, 0], x[0, 0, 0])[:, None, None, None])),
    ("MatMul", Apply(lambda x: x * torch.matmul(x[0, 0, :, 0], x)[:, :, None])),
    ("MatMul", Apply(lambda x: x * torch.dot(x[0, 0, 0], x[0, 1, 0]))),
    ("Slice", Apply(lambda x: x[:, :, ::2, 1::2])),
    ("CastLike", nn.Conv2d(2, 3, 3, bias=False)),
]
"""Operator that torch exports, and a layer for it."""

FROM_ONNX_ALONE = {"Dropout", "GlobalMaxPool", "GroupNormalization", "SpaceToDepth", "Split"}
"""Operators that torch's exporter never writes, see `test_lowering_onnx.py`."""


@pytest.mark.parametrize("size", [(8, 6), (4, 6)], ids=["8x6", "4x6"])
@pytest.mark.parametrize(
    ("operator", "layer"), LAYERS, ids=[f"{op}-{str(layer).split(chr(10))[0][:70]}" for op, layer in LAYERS]
)
def test_a_layer_that_is_lowered_trains_like_torch(operator, layer, size, tmp_path):
    # The floor: the bias before a normalization has no gradient but rounding.
    types = assert_trains_like_torch(TinySolver(layer, size=size), tmp_path / "solver_train", floor=1e-2)
    assert operator in types


def test_every_rule_is_compared_with_torch():
    assert {operator for operator, _ in LAYERS} | FROM_ONNX_ALONE == RULES.keys()


@pytest.mark.parametrize("function", [F.elu, F.softplus, F.mish, F.selu, F.celu, F.hardswish])
def test_gradients_of_very_large_and_very_small_values_are_numbers(function, tmp_path):
    """e^x overflows at 89: a rule must not take it where torch does not."""
    solver = TinySolver(Apply(lambda x: function(1000 * x)))
    module, networks, _ = training_artifacts(solver, tmp_path / "solver_train")
    feeds = example(module, networks, 5, 1)
    ours = device_gradients(TrainStep(training_graph(tmp_path / "solver_train"), weights_of(module)), feeds, {})
    assert all(torch.isfinite(torch.from_numpy(value)).all() for value in ours.values())

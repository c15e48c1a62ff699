"""Operators that cannot train on the device are refused by name and place; those that are accepted train like torch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training import Apply, assert_trains_like_torch, training_artifacts
from workstation_support import (
    TinySolver,
    tiny_networks,
)

from reverie.device_runtime.errors import ExportError
from reverie.export.exporter import export_bundle
from reverie.export.lowering import operators

pytestmark = pytest.mark.slow


def one_line(error):
    return "\n" not in str(error)


@pytest.mark.parametrize(
    ("layer", "operator"),
    [
        (Apply(torch.tan), "Tan"),
        (Apply(lambda x: torch.einsum("nchw,ndhw->ncd", x, x)), "Einsum"),
        (Apply(lambda x: x.topk(2, dim=3)[0]), "TopK"),
        (Apply(torch.asinh), "Asinh"),
        (Apply(torch.sign), "Sign"),
        (Apply(lambda x: torch.floor(x) * x), "Floor"),
        (Apply(lambda x: x.flip(3)), r"Slice \(with a negative step\)"),
        (nn.AvgPool2d(3, ceil_mode=True), r"AveragePool \(it must give its padding and round sizes down\)"),
        (nn.Sequential(nn.Identity(), nn.Identity(), Apply(torch.cosh)), "Cosh"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_operator_that_cannot_train_is_named_with_its_place(layer, operator, tmp_path):
    place = r"solver\.features\.2" + (r"\.2" if isinstance(layer, nn.Sequential) else "")
    with pytest.raises(ExportError, match=rf"no gradient on the device for .*{operator} at {place}\b") as caught:
        training_artifacts(TinySolver(nn.ReLU(), layer), tmp_path / "solver_train")
    assert one_line(caught.value)


def test_a_whole_export_is_refused_with_every_operator_that_cannot_train_named_once(tmp_path):
    layers = [Apply(torch.asinh), nn.Mish(), Apply(torch.cosh), Apply(torch.asinh)]
    with pytest.raises(ExportError) as caught:
        export_bundle(tiny_networks(TinySolver(*layers)), tmp_path / "bundle", lambda _: None)
    listed = str(caught.value).removeprefix("no gradient on the device for ").split(": replace it by")[0]
    assert listed.split(", ") == [
        "Asinh at solver.features.1",
        "Cosh at solver.features.3",
        "Asinh at solver.features.4",
    ]
    assert list(tmp_path.iterdir()) == []


def test_fixed_batch_statistics_in_front_of_all_that_trains_stay_fixed(tmp_path):
    """onnxruntime-training would silently compute batch statistics there; no trained value passes through to notice."""
    front = nn.BatchNorm2d(1, affine=False)
    front.running_mean.fill_(0.5)
    front.running_var.fill_(3.0)
    assert_trains_like_torch(TinySolver(nn.ReLU(), front=front).eval(), tmp_path / "solver_train")


def every_accepted_operator(x):
    """A sum of terms that together use most of operators.TRAINABLE; each of them depends on x."""
    half = torch.full((2, 1, 1), 0.5)
    positive = x * x + 0.5
    same_size = [
        torch.abs(x), 1 - x, x + half, x.double().float(), half / positive, F.gelu(x), torch.exp(-positive),
        x.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 8, 8), x.index_select(1, torch.tensor([1, 0])),
        F.leaky_relu(x, 0.1), torch.log(positive), torch.log_softmax(x, 1), torch.softmax(x, 3),
        x @ x.transpose(2, 3), torch.maximum(x, half), torch.minimum(x, half), F.max_pool2d(x, 3, 1, 1), -x,
        F.pad(x, (1, 0, 0, 1), value=0.5)[:, :, 1:, :-1], positive**1.7, torch.reciprocal(positive), F.relu(x),
        torch.sigmoid(x), torch.sqrt(positive), torch.tanh(x), x.permute(0, 1, 3, 2), torch.where(x > 0, x, 2 * x),
        x[:, :1].repeat(1, 2, 1, 1), x[:, 0].unsqueeze(1) * x, torch.cat([x[:, :, :4], x[:, :, 4:] ** 2], dim=2),
        x.sum(dim=3, keepdim=True) * x, torch.argmax(x, dim=1, keepdim=True) * x, x.flatten(2).reshape(-1, 2, 8, 8),
        F.glu(x, dim=1), torch.atan(x), torch.cos(x), torch.sin(x), torch.cumsum(x, dim=2),
        torch.linalg.vector_norm(x, dim=1, keepdim=True) * x, torch.amax(x, dim=1, keepdim=True) * x,
        torch.amin(x, dim=(2, 3), keepdim=True) * x,
    ]  # fmt: skip
    return sum(same_size)


def test_every_operator_that_is_accepted_trains_like_torch(tmp_path):
    types = assert_trains_like_torch(TinySolver(Apply(every_accepted_operator)), tmp_path / "solver_train")
    not_made_by_torch_here = {"Sum", "Clip", "Flatten", "GlobalAveragePool"}
    assert operators.TRAINABLE - types <= not_made_by_torch_here


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 3, 3, stride=2),
        nn.Conv2d(2, 3, 3, dilation=2),
        nn.Conv2d(2, 4, 3, groups=2, padding="same"),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.AdaptiveMaxPool2d(1),
        nn.Sequential(nn.SiLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1)),
        nn.Conv2d(2, 3, 3, bias=False),
        nn.ReLU6(),
        nn.Hardtanh(),
    ],
    ids=lambda layer: str(layer).replace("\n", " ")[:60],
)
def test_common_layers_train_like_torch(layer, tmp_path):
    assert_trains_like_torch(TinySolver(layer), tmp_path / "solver_train")


def test_values_that_no_gradient_reaches_are_not_refused(tmp_path):
    """Operators that cannot train may stand where nothing is trained: on a constant, or behind a comparison."""
    solver = TinySolver(Apply(lambda x: x * torch.tan(torch.ones(1)) + torch.sinh((x > 0).float())))
    assert {"Tan", "Sinh"} <= assert_trains_like_torch(solver, tmp_path / "solver_train")


def test_the_documented_table_of_operators_is_current(repository):
    assert (repository / "docs/operators.md").read_text("utf-8") == operators.as_markdown()

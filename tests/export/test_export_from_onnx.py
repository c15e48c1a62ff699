"""A solver given as a file in ONNX format: it computes what the file computes, and trains like the module it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reverie.export.onnx_solver import OnnxSolver, compare_with_file
from reverie.export.quiet import quiet_stderr

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
    torch.manual_seed(0)
    network = network.eval()
    with quiet_stderr():
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


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def normed():
    torch.manual_seed(2)
    return Normed().eval()


@pytest.mark.parametrize("fixed", [False, True], ids=["free", "fixed"])
@pytest.mark.parametrize(
    ("opset", "dynamo"), [(11, False), (13, False), (17, False), (18, True), (20, True), (21, True)]
)
def test_every_opset_and_batch_gives_torchs_logits_and_gradients_under_torchs_names(
    normed, tmp_path, opset, dynamo, fixed
):
    solver = OnnxSolver(write(normed, tmp_path / "model.onnx", opset, fixed, dynamo), (1, 8, 8)).eval()
    assert compare_with_file(solver).relative < 1e-5
    torch.testing.assert_close(solver(IMAGES), normed(IMAGES))
    theirs = dict(normed.named_parameters())
    ours = dict(solver.named_parameters())
    assert ours.keys() == theirs.keys()
    weights = torch.randn(5, 3, generator=torch.Generator().manual_seed(3))
    found = torch.autograd.grad((solver(IMAGES) * weights).sum(), list(ours.values()))
    expected = torch.autograd.grad((normed(IMAGES) * weights).sum(), [theirs[name] for name in ours])
    for name, some, other in zip(ours, found, expected, strict=True):
        torch.testing.assert_close(some, other, msg=name)

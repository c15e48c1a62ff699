"""Architectures that people bring as files in ONNX format, as torch wrote them years ago and writes them now."""

from __future__ import annotations

import pytest
import torch
from architectures import SHAPE, SOLVERS
from onnx_files import write
from test_architectures import trained

from reverie.export.from_onnx.solver import OnnxSolver, compare_with_file

IMAGES = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "how", [{"opset": 11, "fixed": True}, {"opset": 18, "dynamo": True}], ids=["opset 11 for one image", "opset 18"]
)
@pytest.mark.parametrize("build", SOLVERS, ids=lambda build: build.__name__)
def test_a_file_computes_what_the_module_computes_for_any_number_of_images(build, how, tmp_path):
    torch.manual_seed(0)
    network = trained(build(5), IMAGES.repeat(4, 1, 1, 1) + 0.1 * torch.randn(16, *SHAPE))
    solver = OnnxSolver(write(network, tmp_path / "model.onnx", example=IMAGES[:1], **how), SHAPE).eval()
    assert compare_with_file(solver).relative < 1e-5
    torch.testing.assert_close(solver(IMAGES), network(IMAGES), rtol=1e-4, atol=1e-5)
    axes = {name: solver.get_parameter(name).shape[axis] for name, axis in solver.onnx_plan.head.items()}
    assert list(axes.values()) == [5, 5]

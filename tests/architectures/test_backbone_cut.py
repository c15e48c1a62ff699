"""Cutting a model in two: the halves together compute what the whole does, and what cannot be cut is refused."""

from __future__ import annotations

import pytest
import torch
from architectures import SHAPE, SOLVERS, mobilenet_v3, resnet, vgg
from torch import nn

from reverie.device_runtime.errors import ExportError
from reverie.export.solvers.backbone import cut

IMAGES = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
LAST = {"vgg": "11", "resnet": "5", "resnet_with_group_norm": "5", "mobilenet_v2": "7", "mobilenet_v3": "6",
        "efficientnet_lite": "7", "convnext": "7"}  # fmt: skip


def halves(solver, path):
    front, rest = cut(solver, path, IMAGES[:2])
    return front.eval(), rest.eval()


@pytest.mark.parametrize("build", SOLVERS, ids=lambda build: build.__name__)
def test_the_halves_compute_what_the_whole_computes_for_any_number_of_images(build):
    torch.manual_seed(0)
    solver = build(5).eval()
    for path in (LAST[build.__name__], "1"):
        front, rest = halves(solver, path)
        for count in (1, 3):
            torch.testing.assert_close(rest(front(IMAGES[:count])), solver(IMAGES[:count]))


def test_the_rest_holds_the_parameters_behind_the_cut_under_their_names():
    solver = mobilenet_v3(5).eval()
    front, rest = halves(solver, "6")
    names = {name for name, _ in rest.named_parameters()}
    assert names == {"6.weight", "6.bias", "8.weight", "8.bias"}
    assert names | {name for name, _ in front.named_parameters()} == {name for name, _ in solver.named_parameters()}
    assert {n for n, _ in rest.named_buffers()} == set()


def test_a_cut_in_the_middle_of_a_block_that_a_shortcut_goes_around_is_refused():
    with pytest.raises(ExportError, match="does not separate the model"):
        cut(resnet(5).eval(), "2.body.1", IMAGES[:2])


def test_a_cut_that_does_not_exist_names_the_nearest():
    with pytest.raises(ExportError, match=r"no module '2\.bodi' to cut before; nearest: .*2\.body"):
        cut(resnet(5).eval(), "2.bodi", IMAGES[:2])


def test_a_module_that_forward_does_not_call_is_no_place_to_cut():
    solver = vgg(5).eval()
    solver.unused = nn.Linear(2, 2)
    solver.forward = lambda images: nn.Sequential.forward(nn.Sequential(*list(solver)[:-1]), images)
    with pytest.raises(ExportError, match="forward does not call the module 'unused'"):
        cut(solver, "unused", IMAGES[:2])

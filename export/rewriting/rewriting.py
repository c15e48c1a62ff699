"""A graph with its gradient → the forms of it that a box chooses from, by its processor; all compute the same.

The rules are in `faster_rules`, for any processor, and behind `blocked`, for those with fast kernels.
"""

from __future__ import annotations

import onnx

from reverie.device_runtime.bundle.manifest import blocked_form
from reverie.export.gradients.placeholders import write_out
from reverie.export.lowering.lowering import lower
from reverie.export.rewriting.blocked import BLOCKS, blocked
from reverie.export.rewriting.faster_rules import BEFORE_GRADIENT, RULES


def prepare(model: onnx.ModelProto) -> None:
    """Rewrite in place what must be so before the gradient of `model` is built."""
    lower(model, BEFORE_GRADIENT, "prepared")


def faster(model: onnx.ModelProto) -> None:
    """Rewrite `model`, with its gradient or without, in place."""
    lower(model, RULES, "faster")


def forms(model: onnx.ModelProto, path: str) -> dict[str, onnx.ModelProto]:
    """`model`, rewritten in place, and its blocked forms, by the path in a bundle; `path` is the model's own.

    Gradients of convolutions and poolings that the blocked layout has no form of are written in plain operators.
    """
    faster(model)
    made = {path: model} | {blocked_form(path, block): blocked(model, block) for block in BLOCKS}
    for form in made.values():
        write_out(form)
    return made

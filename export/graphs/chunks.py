"""How many rows of a batch a device computes at a time."""

from __future__ import annotations

import math

import onnx

FEWEST, MOST = 16, 128
ACTIVATIONS = 4
"""For each parameter, the numbers that a chunk should compute."""
ACTIVATIONS_SYNTHESIS = 6
"""The same in synthesis, whose graphs have the most operators, so that more rows make each worth its call."""
ACTIVATIONS_SAMPLING = 1
"""The same where weights are constants, on which no work is done in every chunk, and few rows should use all cores."""


def chunk_rows(model: onnx.ModelProto, parameters: int, activations: int = ACTIVATIONS) -> int:
    """A power of two: so many rows that their activations are some times as many as the `parameters` in the model.

    Every chunk does once what is done for parameters, such as a spectral norm, and adds up gradients; beyond that, the
    fewer rows, the less memory. It depends on the network alone, so that results are the same on any number of cores.
    """
    wanted = max(1.0, activations * parameters / max(1, _activations(model)))
    return int(min(MOST, max(FEWEST, 2 ** math.ceil(math.log2(wanted)))))


def _activations(model: onnx.ModelProto) -> int:
    """Numbers that `model` computes for one row, as far as it states the shapes."""
    shapes = [value.type.tensor_type.shape.dim for value in model.graph.value_info]
    return sum(math.prod(d.dim_value for d in dims[1:]) for dims in shapes if dims and dims[0].dim_param)

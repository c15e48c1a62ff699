"""A solver of which the cut leaves one linear layer: then class statistics give its weights.

The provider's own layer is for features as the model makes them; the one that is solved has features of another power
at its input, and so is a module of its own.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

PROBES = 16


class LinearHead(nn.Module):
    """Features (N, D) → logits (N, C)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(features, classes)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features)
        return logits


def is_linear_layer(rest: nn.Module, feature_shape: tuple[int, ...]) -> bool:
    """Whether `rest` computes no more than W·x + b, of features (D,) or (D, 1, 1), with W its only other parameter."""
    parameters = [parameter.detach() for parameter in rest.parameters()]
    features = math.prod(feature_shape)
    weights = [p for p in parameters if p.dim() > 1 and p.numel() == p.shape[0] * features]
    if features != feature_shape[0] or len(weights) != 1 or len(parameters) > 2:
        return False
    with torch.no_grad():
        inputs = torch.randn(PROBES, *feature_shape, generator=torch.Generator().manual_seed(0))
        zero = rest(torch.zeros(2, *feature_shape))[:1]
        found = rest(inputs) - zero
        expected = inputs.flatten(1) @ weights[0].flatten(1).T
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4)


def linear_head(weight: np.ndarray, bias: np.ndarray) -> LinearHead:
    """With the weight (C, D) and bias (C,) that statistics gave."""
    head = LinearHead(weight.shape[1], weight.shape[0]).eval()
    with torch.no_grad():
        head.head.weight.copy_(torch.from_numpy(weight))
        head.head.bias.copy_(torch.from_numpy(bias))
    return head

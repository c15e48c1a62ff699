"""The solver of split MNIST, as published: two hidden layers of 400."""

from __future__ import annotations

import math

from torch import nn


class Mlp(nn.Sequential):
    """`forward`: images (N, *S) → logits (N, classes).

    van de Ven, Tuytelaars & Tolias, "Three types of incremental learning", Nature Machine Intelligence, 2022.
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        size = math.prod(input_shape)
        super().__init__(
            nn.Flatten(), nn.Linear(size, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, classes)
        )

"""Generators without a class code, to measure what the code is worth. A class that they make comes by chance."""

from __future__ import annotations

import torch
from torch import Tensor

from reverie.export.networks import ReferenceDiscriminator, ReferenceGenerator


class UnconditionalGenerator(ReferenceGenerator):
    """`forward`: noise (N, NOISE_SIZE) → images (N, C, H, W)."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        del classes
        super().__init__(input_shape, 1)

    def forward(self, noise: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(noise, torch.ones_like(noise[:, :1]))


class UnconditionalDiscriminator(ReferenceDiscriminator):
    """`forward`: images (N, C, H, W) → verdict logits (N,), positive for "live"."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        del classes
        super().__init__(input_shape, 1)

    def forward(self, images: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(images, torch.ones_like(images.flatten(1)[:, :1]))

"""Generators beside the reference one, to measure what depends on it.

Those without a class code tell what the code is worth: a class that they make comes by chance.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reverie.export.pretraining.networks import NOISE_SIZE, ReferenceDiscriminator, ReferenceGenerator


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


class TransposedGenerator(nn.Module):
    """Noise and class code → images, by a linear layer and two transposed convolutions.

    `forward`: noise (N, NOISE_SIZE), code (N, classes) → images (N, C, H, W). Radford et al., "Unsupervised
    representation learning with deep convolutional generative adversarial networks", ICLR 2016, without batch
    normalization.
    """

    noise_size = NOISE_SIZE

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels, self.height, self.width = input_shape
        self.base = (math.ceil(self.height / 4), math.ceil(self.width / 4))
        self.project = nn.Linear(NOISE_SIZE + classes, 64 * math.prod(self.base))
        self.upsample = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)
        self.to_image = nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1)

    def forward(self, noise: Tensor, code: Tensor) -> Tensor:
        x = F.leaky_relu(self.project(torch.cat([noise, code], dim=1)), 0.2)
        x = F.leaky_relu(self.upsample(x.reshape(-1, 64, *self.base)), 0.2)
        images: Tensor = torch.tanh(self.to_image(x))
        return images[:, :, : self.height, : self.width]

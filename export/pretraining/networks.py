"""The reference networks: a small CNN solver, class-conditional generators and a discriminator.

All are written with operators that have a gradient on a box, for any image shape (C, H, W); the generator
and discriminator of features for any shape. Images are float32 in [-1, 1], features have mean 0 and variance 1. A
class code is a one-hot row over all class slots.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NOISE_SIZE = 64


class ReferenceSolver(nn.Module):
    """Convolution and pooling until the map is at most 7 pixels high or wide, then two linear layers.

    The first convolution makes `first` channels, each one twice as many as the one before, up to four times `first`.
    `forward`: images (N, C, H, W) → logits (N, classes).
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int, first: int = 16) -> None:
        super().__init__()
        channels, height, width = input_shape
        layers: list[nn.Module] = []
        out_channels = first
        while min(height, width) > 7:
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels, out_channels = out_channels, min(out_channels * 2, 4 * first)
            height, width = height // 2, width // 2
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(channels * height * width, 128)
        self.classifier = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images).flatten(1)
        logits: Tensor = self.classifier(F.relu(self.hidden(features)))
        return logits


def pixel_shuffle(images: Tensor) -> Tensor:
    """(N, 4C, H, W) → (N, C, 2H, 2W), as Reshape and Transpose, whose gradients exist on the device.

    Shi et al., "Real-time single image and video super-resolution ...", CVPR 2016.
    """
    _, channels, height, width = images.shape
    blocks = images.reshape(-1, channels // 4, 2, 2, height, width)
    return blocks.permute(0, 1, 4, 2, 5, 3).reshape(-1, channels // 4, 2 * height, 2 * width)


class ReferenceGenerator(nn.Module):
    """Noise and class code → image, by a linear layer and convolutions with pixel shuffle.

    `forward`: noise (N, NOISE_SIZE), code (N, classes) → images (N, C, H, W).
    """

    noise_size = NOISE_SIZE

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels, self.height, self.width = input_shape
        doublings = max(1, math.ceil(math.log2(max(self.height, self.width) / 8)))
        self.base = (math.ceil(self.height / 2**doublings), math.ceil(self.width / 2**doublings))
        widths = [max(64 // 2**i, 16) for i in range(doublings + 1)]
        self.project = nn.Linear(NOISE_SIZE + classes, widths[0] * self.base[0] * self.base[1])
        self.upsample = nn.ModuleList(
            nn.Conv2d(before, 4 * after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.to_image = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, noise: Tensor, code: Tensor) -> Tensor:
        x = F.leaky_relu(self.project(torch.cat([noise, code], dim=1)), 0.2)
        x = x.reshape(-1, x.shape[1] // (self.base[0] * self.base[1]), *self.base)
        for convolution in self.upsample:
            x = F.leaky_relu(pixel_shuffle(convolution(x)), 0.2)
        images: Tensor = torch.tanh(self.to_image(x))
        return images[:, :, : self.height, : self.width]


class RangedGenerator(ReferenceGenerator):
    """A reference generator whose images lie between `low` and `high`, (C, 1, 1), instead of -1 and 1."""

    low: Tensor
    high: Tensor

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__(input_shape, classes)
        self.register_buffer("low", -torch.ones(input_shape[0], 1, 1))
        self.register_buffer("high", torch.ones(input_shape[0], 1, 1))

    def forward(self, noise: Tensor, code: Tensor) -> Tensor:
        return self.low + (super().forward(noise, code) + 1) * ((self.high - self.low) / 2)


class FeatureGenerator(nn.Module):
    """Noise and class code → features of any scale, by three linear layers.

    `forward`: noise (N, NOISE_SIZE), code (N, classes) → features (N, *S).
    """

    noise_size = NOISE_SIZE

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        size = math.prod(self.input_shape)
        width = min(max(size, 64), 256)
        self.first = nn.Linear(NOISE_SIZE + classes, width)
        self.second = nn.Linear(width, width)
        self.to_features = nn.Linear(width, size)

    def forward(self, noise: Tensor, code: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(torch.cat([noise, code], dim=1)), 0.2)
        x = F.leaky_relu(self.second(x), 0.2)
        features: Tensor = self.to_features(x)
        return features.reshape(-1, *self.input_shape)


class SpectralNorm(nn.Module):
    """A linear or convolution layer whose weight is divided by its largest singular value.

    One power iteration from the stored left vector is part of the forward pass, so that the norm follows the
    weight while the device trains it. Miyato et al., "Spectral normalization for GANs", ICLR 2018.
    """

    u: Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("u", F.normalize(torch.randn(1, layer.weight.shape[0]), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.layer.weight.flatten(1)
        v = torch.matmul(self.u, rows)
        v = v / (v * v).sum().sqrt()
        projected = torch.matmul(rows, v.reshape(-1, 1))
        sigma = (projected * projected).sum().sqrt()
        if self.training:
            self.u = (projected / sigma).detach().reshape(1, -1)
        weight = self.layer.weight / sigma
        if isinstance(self.layer, nn.Conv2d):
            return F.conv2d(x, weight, self.layer.bias, self.layer.stride, self.layer.padding)
        return F.linear(x, weight, self.layer.bias)


class ReferenceDiscriminator(nn.Module):
    """Strided, spectrally normalised convolutions; the class enters by projection. Vectors (N, C) need no convolution.

    `forward`: images (N, C, H, W) or features (N, *S), code (N, classes) → verdict logits (N,), positive for "live".
    Projection: Miyato & Koyama, "cGANs with projection discriminator", ICLR 2018.
    """

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels, height, width = (*input_shape, 1, 1)[:3]
        layers: list[nn.Module] = []
        out_channels = 32
        while max(height, width) > 4:
            convolution = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1)
            layers += [SpectralNorm(convolution), nn.LeakyReLU(0.2)]
            channels, out_channels = out_channels, min(out_channels * 2, 128)
            height, width = (height + 1) // 2, (width + 1) // 2
        self.features = nn.Sequential(*layers)
        self.hidden = SpectralNorm(nn.Linear(channels * height * width, 128))
        self.verdict = nn.Linear(128, 1)
        self.class_embedding = nn.Linear(classes, 128, bias=False)

    def forward(self, images: Tensor, code: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.hidden(self.features(images).flatten(1)), 0.2)
        projection = (hidden * self.class_embedding(code)).sum(dim=1)
        verdict: Tensor = self.verdict(hidden).reshape(-1) + projection
        return verdict

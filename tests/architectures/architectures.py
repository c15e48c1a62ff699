"""Small forms of the architectures that people bring, in plain torch: solvers for 32x32 colour images, generators.

Each is its family's building blocks in the family's own arrangement, a few layers deep.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

SHAPE = (3, 32, 32)
NOISE = 8


def batch_norm(channels):
    return nn.BatchNorm2d(channels)


def group_norm(channels):
    return nn.GroupNorm(4, channels)


def convolution(inputs, outputs, kernel=3, stride=1, groups=1, norm=batch_norm, activation=nn.ReLU):
    """Convolution without bias, normalization, activation."""
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), norm(outputs)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class Classifier(nn.Sequential):
    """Features, mean over the image, one linear layer."""

    def __init__(self, width, classes, *features):
        super().__init__(*features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def vgg(classes):
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(16 * 64, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, classes)),
    )


class Residual(nn.Module):
    """A ResNet's basic block; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs, outputs, stride, norm):
        super().__init__()
        self.body = nn.Sequential(
            convolution(inputs, outputs, 3, stride, norm=norm),
            convolution(outputs, outputs, norm=norm, activation=None),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, 1, stride, norm=norm, activation=None)

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def resnet(classes, norm=batch_norm):
    stem = nn.Sequential(convolution(3, 8, 3, 2, norm=norm), nn.MaxPool2d(3, 2, 1))
    return Classifier(16, classes, stem, Residual(8, 8, 1, norm), Residual(8, 16, 2, norm))


def resnet_with_group_norm(classes):
    return resnet(classes, group_norm)


class SqueezeExcite(nn.Module):
    """Scale each channel by what its mean over the image says."""

    def __init__(self, channels):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


class InvertedResidual(nn.Module):
    """Widen, convolve each channel alone, narrow; MobileNetV2's block, with MobileNetV3's parts on request."""

    def __init__(self, inputs, outputs, stride, activation=nn.ReLU6, kernel=3, squeeze=False):
        super().__init__()
        wide = 4 * inputs
        self.body = nn.Sequential(
            convolution(inputs, wide, 1, activation=activation),
            convolution(wide, wide, kernel, stride, groups=wide, activation=activation),
            SqueezeExcite(wide) if squeeze else nn.Identity(),
            convolution(wide, outputs, 1, activation=None),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


def mobilenet_v2(classes):
    blocks = [InvertedResidual(8, 8, 1), InvertedResidual(8, 12, 2), InvertedResidual(12, 12, 1)]
    head = convolution(12, 24, 1, activation=nn.ReLU6)
    return Classifier(24, classes, convolution(3, 8, 3, 2, activation=nn.ReLU6), *blocks, head)


def mobilenet_v3(classes):
    blocks = [
        InvertedResidual(8, 8, 2, nn.ReLU, squeeze=True),
        InvertedResidual(8, 12, 2, nn.Hardswish, 5, squeeze=True),
        InvertedResidual(12, 12, 1, nn.Hardswish, 5, squeeze=True),
    ]
    return nn.Sequential(
        *(convolution(3, 8, 3, 2, activation=nn.Hardswish), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.Linear(12, 16), nn.Hardswish(), nn.Linear(16, classes)),
    )


def efficientnet_lite(classes):
    """EfficientNet without squeeze-and-excite and with ReLU6, kernels of 3 and 5."""
    blocks = [InvertedResidual(8, 8, 1), InvertedResidual(8, 12, 2, kernel=5), InvertedResidual(12, 16, 2, kernel=5)]
    head = convolution(16, 24, 1, activation=nn.ReLU6)
    return Classifier(24, classes, convolution(3, 8, 3, 2, activation=nn.ReLU6), *blocks, head)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of an image."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """7x7 convolution of each channel alone, LayerNorm, two linear layers with GELU, a learnt scale."""

    def __init__(self, channels):
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.widen, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(0.1 * torch.ones(channels))

    def forward(self, x):
        y = self.norm(self.spread(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.widen(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext(classes):
    stem = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), ChannelNorm(8))
    down = nn.Sequential(ChannelNorm(8), nn.Conv2d(8, 12, 2, stride=2))
    return nn.Sequential(
        *(stem, ConvNeXtBlock(8), down, ConvNeXtBlock(12), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.LayerNorm(12), nn.Linear(12, classes)),
    )


class Generator(nn.Module):
    """Noise and class code through `layers`, which make images of a (N, values, 1, 1) input."""

    noise_size = NOISE

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, noise, code):
        return self.layers(torch.cat([noise, code], dim=1).unsqueeze(2).unsqueeze(3))


def dcgan_generator(classes):
    """Transposed convolutions with batch normalization (Radford, Metz & Chintala, 2016)."""
    return Generator(
        *(nn.ConvTranspose2d(NOISE + classes, 16, 4, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.ConvTranspose2d(16, 12, 4, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.ConvTranspose2d(12, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh()),
    )


def resizing_generator(classes):
    """Nearest and bilinear upsampling, each before a convolution."""
    return Generator(
        *(nn.Conv2d(NOISE + classes, 128, 1), nn.PReLU(), nn.Flatten(), nn.Unflatten(1, (8, 4, 4))),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(8, 8, 3, padding=1), nn.ELU()),
        *(nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.Conv2d(8, 8, 3), nn.Mish()),
        *(nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh()),
    )


SOLVERS = [
    vgg, resnet, resnet_with_group_norm, mobilenet_v2, mobilenet_v3, efficientnet_lite, convnext,
]  # fmt: skip
GENERATORS = [dcgan_generator, resizing_generator]

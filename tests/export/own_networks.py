"""A user's own networks, as a user writes them: tests copy this file to my_networks.py and export from it."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Linear(18, classes)

    def forward(self, images):
        return self.head(self.features(images))


def fixed():
    return Net(3)


def growing(classes):
    return Net(classes)


class Maker(nn.Module):
    noise_size = 5

    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(5 + classes, 64)

    def forward(self, noise, code):
        return torch.tanh(self.layer(torch.cat([noise, code], dim=1))).reshape(-1, 1, 8, 8)


class Judge(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(64 + classes, 1)

    def forward(self, images, code):
        return self.layer(torch.cat([images.flatten(1), code], dim=1)).reshape(-1)


class CodeFirst(Judge):
    def forward(self, images, code):
        return self.layer(torch.cat([code, images.flatten(1)], dim=1)).reshape(-1)


class Codeless(nn.Module):
    """A generator that takes noise alone."""

    noise_size = 5

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 64)

    def forward(self, noise):
        return torch.tanh(self.layer(noise)).reshape(-1, 1, 8, 8)


class ByValue(Net):
    def forward(self, images):
        return super().forward(images * 2 if images.sum() > 0 else images)


class OnlyTwo(Net):
    """Exports with a batch of two, and then takes no other."""

    def forward(self, images):
        return super().forward(images.reshape(2, 1, 8, 8) if images.shape[0] == 2 else images)


class Unused(Net):
    def __init__(self, classes):
        super().__init__(classes)
        self.auxiliary = nn.Linear(18, 2)


class Arctangent(nn.Module):
    def forward(self, x):
        return torch.asinh(x)


class Untrainable(Net):
    def __init__(self, classes):
        super().__init__(classes)
        self.features.append(Arctangent())


class Scaled(Net):
    def __init__(self, classes):
        super().__init__(classes)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        return super().forward(images) * self.scale


class Double(Net):
    def __init__(self, classes):
        super().__init__(classes)
        self.scale = nn.Parameter(torch.full((1,), 2.0, dtype=torch.float64))

    def forward(self, images):
        return (super().forward(images) * self.scale).float()


class Tied(Net):
    def __init__(self, classes):
        super().__init__(classes)
        self.first, self.second = nn.Linear(18, 18), nn.Linear(18, 18)
        self.second.weight = self.first.weight

    def forward(self, images):
        return self.head(self.second(torch.relu(self.first(self.features(images)))))


class OneNumber(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 1)

    def forward(self, images):
        return self.layer(images.flatten(1)).reshape(-1)


def failing():
    message = "no such backbone"
    raise ValueError(message)


def no_module():
    return 3


class Frozen(Net):
    """Whose features the user did not train."""

    def __init__(self):
        super().__init__(3)
        self.features.requires_grad_(False)


class FrozenMaker(Maker):
    def __init__(self, classes):
        super().__init__(classes)
        self.requires_grad_(False)


class MaybeMaker(Maker):
    """Which takes a code that may be left out."""

    def forward(self, noise, code=None):
        return super().forward(noise, code)


class SpectralJudge(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = nn.utils.spectral_norm(nn.Linear(64, 8))
        self.last = nn.Linear(8 + classes, 1)

    def forward(self, images, code):
        return self.last(torch.cat([self.layer(images.flatten(1)).relu(), code], dim=1)).reshape(-1)


class DeviatingJudge(nn.Module):
    """Which looks at how much a batch varies, as against mode collapse."""

    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(65 + classes, 1)

    def forward(self, images, code):
        flat = images.flatten(1)
        deviation = (flat - flat.mean(0)).square().mean().add(1e-4).sqrt() + 0 * flat[:, :1]
        return self.layer(torch.cat([flat, deviation, code], dim=1)).reshape(-1)


class Focus(Net):
    """Every second pixel as a channel of its own, and the largest of all channels."""

    def __init__(self):
        super().__init__(3)
        self.features = nn.Sequential(nn.Conv2d(4, 2, 2), nn.ReLU(), nn.Flatten())

    def forward(self, images):
        parts = [images[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        together = torch.cat(parts, dim=1)
        return self.head(self.features(together * together.max(1, keepdim=True)[0]))


class Squeezing(Net):
    def __init__(self):
        super().__init__(3)

    def forward(self, images):
        return super().forward(images).squeeze()


class Softmaxed(Net):
    def __init__(self):
        super().__init__(3)

    def forward(self, images):
        return super().forward(images).softmax(1)


class CosineHead(nn.Linear):
    def forward(self, features):
        return 5 * nn.functional.linear(nn.functional.normalize(features), nn.functional.normalize(self.weight))


class Cosine(Net):
    def __init__(self):
        super().__init__(3)
        self.head = CosineHead(18, 3, bias=False)

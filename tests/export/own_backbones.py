"""Whole classifiers as a user brings them, to be cut: tests copy this file to my_backbones.py."""

from __future__ import annotations

import torch
from torch import nn


def block(inputs, outputs, stride=1):
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Whole(nn.Module):
    """A CNN with BatchNorm for 16x16 colour images; features of a scale that no other network here has."""

    def __init__(self, classes=9):
        super().__init__()
        self.stem = block(3, 8, 2)
        self.body = nn.Sequential(block(8, 12), block(12, 16, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.neck = nn.Flatten()
        self.hidden = nn.Linear(16, 12)
        self.head = nn.Linear(12, classes)

    def forward(self, images):
        x = 30 * self.neck(self.pool(self.body(self.stem(images))))
        return self.head(torch.relu(self.hidden(x)))


def many():
    """For nine classes, whatever is asked for."""
    return Whole()


def three():
    return Whole(3)


def growing(classes):
    return Whole(classes)


class ByValue(Whole):
    def forward(self, images):
        return super().forward(images * 2 if images.sum() > 0 else images)


class Around(Whole):
    """A shortcut leads from the stem to behind the hidden layer."""

    def forward(self, images):
        early = self.stem(images)
        x = self.neck(self.pool(self.body(early)))
        return self.head(torch.relu(self.hidden(x)) + early.mean(dim=(1, 2, 3))[:, None])


class Arctangent(nn.Module):
    def forward(self, x):
        return torch.asinh(x)


class Untrainable(Whole):
    """An operator without a gradient on the device, behind the hidden layer."""

    def __init__(self, classes):
        super().__init__(classes)
        self.hidden = nn.Sequential(nn.Linear(16, 12), Arctangent())


class NoNumbers(Whole):
    def forward(self, images):
        x = self.neck(self.pool(self.body(self.stem(images))))
        return self.head(torch.relu(self.hidden(torch.log(-x - 1))))


class Windows(Whole):
    """What enters the hidden layer is two rows for each image."""

    def forward(self, images):
        x = self.neck(self.pool(self.body(self.stem(images)))).repeat_interleave(2, dim=0)
        return self.head(torch.relu(self.hidden(x)))[::2]


class NoLinearHead(Whole):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv1d(12, 9, 1)

    def forward(self, images):
        x = self.neck(self.pool(self.body(self.stem(images))))
        return self.head(torch.relu(self.hidden(x))[:, :, None])[:, :, 0]


class Maker(nn.Module):
    """Features for the cut before `hidden`."""

    noise_size = 5

    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(5 + classes, 16)

    def forward(self, noise, code):
        return torch.relu(self.layer(torch.cat([noise, code], dim=1)))


class Judge(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer = nn.Linear(16 + classes, 1)

    def forward(self, features, code):
        return self.layer(torch.cat([features, code], dim=1)).reshape(-1)

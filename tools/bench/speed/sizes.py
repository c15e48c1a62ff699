"""The networks that `reverie bench speed` measures: what boxes run, from small images to features of a backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reverie.device_runtime.bundle.preprocess import Preprocessing
from reverie.export.networks import Networks
from reverie.export.pretraining import networks

CLASSES = tuple(f"class {i}" for i in range(6))
SLOTS = 10


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow again; added to the input where shapes agree.

    Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, widening: int = 4) -> None:
        super().__init__()
        wide = inputs * widening
        self.layers = nn.Sequential(
            *_normalised(nn.Conv2d(inputs, wide, 1, bias=False)),
            nn.ReLU6(),
            *_normalised(nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide, bias=False)),
            nn.ReLU6(),
            *_normalised(nn.Conv2d(wide, outputs, 1, bias=False)),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


def _normalised(convolution: nn.Conv2d) -> tuple[nn.Module, nn.Module]:
    """With a batch normalization that adds something, as a trained one does: zeros would lie on the kink of ReLU6."""
    norm = nn.BatchNorm2d(convolution.out_channels)
    nn.init.normal_(norm.bias, std=0.1)
    return convolution, norm


class MobileSolver(nn.Module):
    """A small MobileNetV2 for 64x64 images."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_normalised(nn.Conv2d(3, 16, 3, 2, padding=1, bias=False)),
            nn.ReLU6(),
            InvertedResidual(16, 24, 2),
            InvertedResidual(24, 24, 1),
            InvertedResidual(24, 32, 2),
            InvertedResidual(32, 32, 1),
            InvertedResidual(32, 64, 2),
            InvertedResidual(64, 64, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.layers(images))
        return logits


def reference(side: int = 28, slots: int = SLOTS) -> Networks:
    """The reference networks on grey images."""
    shape = (1, side, side)
    return _networks(networks.ReferenceSolver(shape, slots), networks.ReferenceGenerator(shape, slots), shape, slots)


def mobile() -> Networks:
    """A MobileNetV2-style solver on colour images of 64 by 64, with the reference generator and discriminator."""
    shape = (3, 64, 64)
    return _networks(MobileSolver(SLOTS), networks.ReferenceGenerator(shape, SLOTS), shape, SLOTS)


def head() -> Networks:
    """What trains behind an EfficientNet-Lite0: a linear layer on its 1,280 features."""
    shape = (1280,)
    return _networks(nn.Linear(1280, SLOTS), networks.FeatureGenerator(shape, SLOTS), shape, SLOTS)


def _networks(solver: nn.Module, generator: nn.Module, shape: tuple[int, ...], slots: int) -> Networks:
    return Networks(
        solver=solver.eval(),
        generator=generator.eval(),
        discriminator=networks.ReferenceDiscriminator(shape, slots).eval(),
        name="speed",
        classes=CLASSES,
        slots=slots,
        input_shape=shape,
        preprocessing=Preprocessing(64, 64, "rgb") if shape[0] == 3 else Preprocessing(28, 28, "grey"),
    )


SIZES = {"28x28 reference": reference, "64x64 MobileNetV2": mobile, "EfficientNet-Lite0 head": head}
"""Name → the networks of a size, with random weights from torch's generator."""


def built(size: str, seed: int = 0) -> Networks:
    """The networks of a size, always the same for a seed."""
    torch.manual_seed(seed)
    return SIZES[size]()

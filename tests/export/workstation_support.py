"""Networks, random inputs and comparisons that several tests of the workstation half share."""

from __future__ import annotations

import copy
import inspect
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from reverie.device_runtime.bundle.manifest import Manifest
from reverie.device_runtime.bundle.preprocess import Preprocessing, image_files
from reverie.export.networks import Networks
from reverie.export.pretraining.networks import ReferenceDiscriminator, ReferenceGenerator, ReferenceSolver

SHAPES = [(1, 28, 28), (1, 14, 14), (3, 32, 32), (3, 21, 30)]
SMALL, TINY = (1, 14, 14), (1, 8, 8)
BATCHES = (1, 7)
"""Batch sizes that the exporter itself does not compare."""
CLASSES, SLOTS = ("cup", "box", "pen", "lid"), 7
EPOCH = "1700000000"
NUDGED = {"input", "noise"}
"""Inputs of a graph that reach its kinks."""


class Exported(NamedTuple):
    """Networks in torch and the bundle that was made from them."""

    networks: Networks
    folder: Path
    manifest: Manifest

    def __repr__(self) -> str:
        return f"<bundle {self.folder.name}>"


class TinySolver(nn.Module):
    """Small grey images through one convolution, `middle`, and one linear layer."""

    def __init__(
        self, *middle: nn.Module, front: nn.Module | None = None, slots: int = SLOTS, size: tuple[int, int] = TINY[1:]
    ) -> None:
        super().__init__()
        self.input_shape = (1, *size)
        self.front = front or nn.Identity()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), *middle).eval()
        with torch.no_grad():
            width = self.features(torch.zeros(1, *self.input_shape)).flatten(1).shape[1]
        self.classifier = nn.Linear(width, slots)

    def forward(self, images):
        return self.classifier(self.features(self.front(images)).flatten(1))


class TinyGenerator(nn.Module):
    noise_size = 3

    def __init__(self, slots: int = SLOTS) -> None:
        super().__init__()
        self.project = nn.Linear(3 + slots, 64)

    def forward(self, noise, code):
        return torch.tanh(self.project(torch.cat([noise, code], dim=1))).reshape(-1, 1, 8, 8)


class TinyDiscriminator(nn.Module):
    def __init__(self, slots: int = SLOTS) -> None:
        super().__init__()
        self.verdict = nn.Linear(64 + slots, 1)

    def forward(self, images, code):
        return self.verdict(torch.cat([images.flatten(1), code], dim=1)).reshape(-1)


def tiny_networks(solver: nn.Module | None = None, seed: int = 0) -> Networks:
    """Networks that export in seconds; `solver` takes 8x8 grey images, or says what it takes."""
    torch.manual_seed(seed)
    solver = solver or TinySolver(nn.ReLU())
    shape = getattr(solver, "input_shape", TINY)
    how = Preprocessing(shape[1], shape[2], "grey")
    return Networks(solver, TinyGenerator(), TinyDiscriminator(), "tiny", CLASSES, SLOTS, shape, how)


def example_networks(shape: tuple[int, ...]) -> Networks:
    """The reference networks for images of `shape`, four known classes and three spare slots, from a fixed seed.

    For images as small as TINY, networks that export faster.
    """
    if shape == TINY:
        return tiny_networks()
    torch.manual_seed(0)
    how = Preprocessing(shape[1], shape[2], "grey" if shape[0] == 1 else "rgb")
    made = [build(shape, SLOTS) for build in (ReferenceSolver, ReferenceGenerator, ReferenceDiscriminator)]
    return Networks(*made, "reference", CLASSES, SLOTS, shape, how)


def redrawn(network: nn.Module, seed: int) -> nn.Module:
    """`network` with other parameters: what a box holds after updates. Buffers stay, they are part of the graph."""
    other = copy.deepcopy(network).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * parameter.square().mean().sqrt())
    return other


def decisive(solver: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """`solver` with its last layer scaled so that logits spread as a trained solver's do."""
    draw = torch.Generator().manual_seed(9)
    with torch.no_grad():
        spread = solver(torch.randn(64, *shape, generator=draw)).std()
        solver.classifier.weight.mul_(4 / spread)
    return solver


def weights_of(module: nn.Module, prefix: str = "") -> dict[str, np.ndarray]:
    """Parameters whose names start with `prefix`, as the engine takes them."""
    return {name: p.detach().numpy().copy() for name, p in module.named_parameters() if name.startswith(prefix)}


def example(module: nn.Module, networks: Networks, count: int, seed: int) -> dict[str, torch.Tensor]:
    """Random values for all inputs that `module.forward` names, for a batch of `count`."""
    draw = torch.Generator().manual_seed(1000 * seed + count)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    def share(*shape):
        return torch.rand(*shape, generator=draw)

    known = (torch.arange(SLOTS) < len(CLASSES)).float()
    values = {name: normal(count, *networks.input_shape) for name in ("input", "start", "anchor", "x")}
    values |= {name: share(count) for name in ("weight", "anchor_weight", "class_weight")}
    values |= {name: torch.eye(SLOTS)[torch.randint(SLOTS, (count,), generator=draw)] for name in ("code", "reference")}
    values |= {
        "noise": normal(count, networks.noise_size),
        "target": torch.softmax(2 * normal(count, SLOTS), dim=1),
        "temperature": 0.5 + 3 * share(count),
        "kind": torch.randint(2, (count,), generator=draw).float(),
        "known": known,
        "active": torch.ones(SLOTS),
        "choose": share(5),
        "alpha": torch.tensor(0.9),
        "tv": torch.tensor(0.3),
        "pull": torch.tensor(0.4),
        "prior": torch.tensor(0.02),
    }
    return {name: values[name] for name in inspect.signature(module.forward).parameters}


def as_numpy(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in tensors.items()}


def in_float64(module: nn.Module, feeds: dict[str, torch.Tensor]) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """Copies in double precision: torch's own rounding then plays no part in a comparison."""
    return copy.deepcopy(module).double(), {name: value.double() for name, value in feeds.items()}


def torch_gradients(module: nn.Module, feeds: dict[str, torch.Tensor], prefix: str) -> dict[str, np.ndarray]:
    """Loss and the gradients of the parameters whose names start with `prefix`, from torch's autograd in float64."""
    module, feeds = in_float64(module, feeds)
    outputs = module(**feeds)
    loss = outputs[0] if isinstance(outputs, tuple) else outputs
    named = {name: p for name, p in module.named_parameters() if name.startswith(prefix)}
    gradients = torch.autograd.grad(loss, list(named.values()))
    return as_numpy({"loss": loss} | dict(zip(named, gradients, strict=True)))


def device_gradients(step, feeds: dict[str, torch.Tensor], fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same from the device's engine."""
    outputs, gradients = step.gradients(as_numpy(feeds) | fed)
    return gradients | {"loss": outputs["loss"]}


def assert_close(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tolerance: float, floor: float = 0.0
) -> None:
    """Each tensor within `tolerance` of the other, relative to its largest magnitude.

    What is smaller than `floor`, or than a hundred-thousandth of the largest tensor, counts relative to that:
    where terms cancel, only rounding is left.
    """
    assert ours.keys() == theirs.keys()
    floor = max(floor, 1e-5 * max(float(np.abs(value).max()) for value in theirs.values()))
    for name, value in theirs.items():
        assert ours[name].shape == value.shape, name
        difference = float(np.abs(ours[name] - value).max()) / max(float(np.abs(value).max()), floor)
        assert difference <= tolerance, f"{name} differs by {difference:.1e}"


def assert_agrees(
    ours, theirs, feeds: dict[str, torch.Tensor], tolerance: float, floor: float = 0.0, points: int = 3
) -> None:
    """`ours(feeds)` is close to `theirs(feeds)`, or is at another of `points` nearby.

    Right at a kink of ReLU or max pooling, rounding alone decides between two slopes; off it, right gradients agree.
    """
    try:
        assert_close(ours(feeds), theirs(feeds), tolerance, floor)
    except AssertionError:
        if points == 1:
            raise
        draw = torch.Generator().manual_seed(points)
        nearby = {n: feeds[n] + 1e-3 * torch.randn(feeds[n].shape, generator=draw) for n in NUDGED & feeds.keys()}
        assert_agrees(ours, theirs, feeds | nearby, tolerance, floor, points - 1)


def class_folders(folder: Path, photos: Path, count: int = 4) -> Path:
    """A folder of class-named folders with `count` photographs each."""
    files = image_files(photos)
    for label in ("cat", "cup"):
        (folder / label).mkdir(parents=True)
        for at in range(count):
            shutil.copy(files[at % len(files)], folder / label / f"{at}.jpg")
    return folder

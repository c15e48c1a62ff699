"""Train a solver and a GAN on the historical images, on the workstation, in torch.

The solver learns by cross-entropy and is scored on a tenth of the images that it never trains on. The GAN is
class-conditional with the non-saturating loss (Goodfellow et al., "Generative adversarial nets", 2014); the generator
kept is the running average of its weights (Yazici et al., "The unusual effectiveness of averaging", 2019).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reverie.device_runtime.errors import ExportError
from reverie.device_runtime.method.coordinates import principal_coordinates
from reverie.export.pretraining.schedule import Schedule, half_cosine, straight
from reverie.export.solvers.factories import IgnoringCode, with_code

Progress = Callable[[str, int, int, float | None], None]
"""Called with (what is trained or computed, step, steps in all, loss or None)."""


LEAST_WINDOW, GAN_WINDOW = 100, 500
"""Steps over which losses are averaged before they are compared; at least an epoch of the solver's."""
MOST_SOLVER_STEPS, MOST_GAN_STEPS = 20_000, 12_000
MEASURED = 32
"""Inputs that are measured at a time: a large network needs much memory for each."""


@dataclass(frozen=True)
class PretrainConfig:
    """How long and how fast to train; the defaults suit images of about 28×28 to 64×64."""

    seed: int = 0
    solver_epochs: int | None = None
    """None: until the loss has converged, and so are the steps of the GAN."""
    solver_batch: int = 128
    solver_learning_rate: float = 1e-3
    gan_steps: int | None = None
    gan_batch: int = 64
    gan_learning_rate: float = 1e-3
    gan_reconstruction: float = 20.0
    """Weight of the mean squared distance from real images that the generator reproduces from their coordinates."""
    gan_components: int = 32
    """Principal coordinates in the noise of an image to reproduce; the rest is fresh noise."""
    average_decay: float = 0.995
    validation_share: float = 0.1


class Measured(NamedTuple):
    """What pretraining reached: accuracy on the validation images, of each class too, and the generator's coverage."""

    validation_accuracy: float
    class_accuracy: tuple[float, ...]
    class_coverage: tuple[float, ...]


def pretrain(
    networks: tuple[nn.Module, nn.Module, nn.Module],
    inputs: np.ndarray,
    labels: np.ndarray,
    config: PretrainConfig,
    progress: Progress,
    train_the_solver: bool = True,
) -> tuple[nn.Module, Measured]:
    """Train solver, generator and discriminator, in this order in `networks`, on inputs (N, *S) and labels (N,).

    Solver and discriminator are trained in place; the averaged generator is returned with the figures.
    """
    solver, generator, discriminator = networks
    train, validation = divided(inputs, labels, config)
    if train_the_solver:
        train_solver(solver, *train, config, progress)
    averaged = train_gan(with_code(generator), with_code(discriminator), *train, config, progress)
    right, of_each = share_right(solver, *validation)
    measured = Measured(right, of_each, class_coverage(averaged, solver, len(of_each)))
    return averaged.network if isinstance(averaged, IgnoringCode) else averaged, measured


def divided(
    inputs: np.ndarray, labels: np.ndarray, config: PretrainConfig
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Inputs (N, *S) and labels (N,) to train with, and those to validate with."""
    train, validation = (
        (torch.from_numpy(inputs[rows]), torch.from_numpy(labels[rows]))
        for rows in split_validation(labels, config.validation_share, config.seed)
    )
    return train, validation


def share_right(solver: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, tuple[float, ...]]:
    """Share of `inputs` (N, *S) that the solver recognises, and of those of each class in `labels` (N,)."""
    right = (taken_for(solver, inputs) == labels).double()
    of_each = tuple(float(right[labels == slot].mean()) for slot in range(int(labels.max()) + 1))
    return float(right.mean()), of_each


def split_validation(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, validation) with `share` of every class in the second; at least one image each."""
    rng = np.random.default_rng(seed)
    train, validation = [], []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            message = f"class number {label} has {len(members)} image: at least 2 are needed, one to validate with"
            raise ExportError(message)
        held_out = max(1, round(share * len(members)))
        validation.append(members[:held_out])
        train.append(members[held_out:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def taken_for(solver: nn.Module, inputs: Tensor) -> Tensor:
    """The class slot (N,) with the largest logit of each of `inputs` (N, *S)."""
    solver.eval()
    with torch.no_grad():
        return torch.cat([solver(x).argmax(1) for x in inputs.split(MEASURED)])


def train_solver(solver: nn.Module, inputs: Tensor, labels: Tensor, config: PretrainConfig, progress: Progress) -> None:
    """Cross-entropy, Adam. Trains `solver` in place.

    The learning rate falls along a half cosine, or where the number of epochs is open, as `Schedule` says.
    """
    draw = torch.Generator().manual_seed(config.seed)
    batches = max(1, len(labels) // config.solver_batch)
    optimizer = torch.optim.Adam(solver.parameters(), lr=config.solver_learning_rate)
    count = None if config.solver_epochs is None else batches * config.solver_epochs
    schedule = Schedule([optimizer], count, max(batches, LEAST_WINDOW), MOST_SOLVER_STEPS, half_cosine, 0.0)
    solver.train()
    for step in schedule.steps():
        if step % batches == 0:
            order = torch.randperm(len(labels), generator=draw)
        chosen = order[(step % batches) * config.solver_batch :][: config.solver_batch]
        loss = F.cross_entropy(solver(inputs[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.took(loss.item())
        progress("solver", step + 1, schedule.end, loss.item())
    solver.eval()


def train_gan(
    generator: nn.Module,
    discriminator: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    config: PretrainConfig,
    progress: Progress,
) -> nn.Module:
    """Non-saturating GAN loss, one discriminator and one generator step by turns.

    D minimises softplus(-D(x)) + softplus(D(G(z))), G minimises softplus(-D(G(z))) + r · mean((G(z') - x)²), where
    half of the noise, z', holds the principal coordinates of real images x: what it must reproduce, the generator
    cannot drop. A generator without class code reproduces none, as coordinates lie within a class. Returns the
    generator whose weights are the running average; `discriminator` is trained in place.
    """
    draw = torch.Generator().manual_seed(config.seed + 1)
    classes = int(labels.max()) + 1
    betas = (0.5, 0.99)
    generator_optimizer = torch.optim.Adam(generator.parameters(), lr=config.gan_learning_rate, betas=betas)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), lr=config.gan_learning_rate, betas=betas)
    optimizers = (generator_optimizer, discriminator_optimizer)
    schedule = Schedule(optimizers, config.gan_steps, GAN_WINDOW, MOST_GAN_STEPS, straight, 0.1)
    averaged = copy.deepcopy(generator).requires_grad_(requires_grad=False)
    noise_size = int(generator.noise_size)  # type: ignore[arg-type]
    codes = torch.eye(classes)
    rng = np.random.default_rng(config.seed)
    components = min(config.gan_components, noise_size)
    reconstruction = 0.0 if isinstance(generator, IgnoringCode) else config.gan_reconstruction
    coordinates = torch.from_numpy(principal_coordinates(inputs.numpy(), labels.numpy(), components, rng)[:])

    for step in schedule.steps():
        chosen = torch.randint(len(labels), (config.gan_batch,), generator=draw)
        half = chosen[: config.gan_batch // 2]
        noise = torch.randn(config.gan_batch, noise_size, generator=draw)
        noise[: len(half), :components] = coordinates[half]
        fresh = torch.randint(classes, (config.gan_batch - len(half),), generator=draw)
        code = codes[torch.cat([labels[half], fresh])]
        images = generator(noise, code)
        seen = torch.cat([inputs[chosen], images.detach()])
        verdicts = discriminator(seen, torch.cat([codes[labels[chosen]], code]))
        on_real, on_fake = verdicts.split(config.gan_batch)
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        discriminator_optimizer.zero_grad()
        loss.backward()
        discriminator_optimizer.step()

        apart = F.mse_loss(images[: len(half)], inputs[half])
        loss = F.softplus(-discriminator(images, code)).mean() + reconstruction * apart
        generator_optimizer.zero_grad()
        loss.backward()
        generator_optimizer.step()
        # The adversarial loss tells nothing of how far it is; how well real images are reproduced does.
        schedule.took(apart.item() if reconstruction else loss.item())
        decay = min(config.average_decay, step / (step + 10))
        for kept, now in zip(averaged.parameters(), generator.parameters(), strict=True):
            kept.lerp_(now.detach(), 1 - decay)
        progress("generator", step + 1, schedule.end, loss.item())
    discriminator.eval()
    return averaged.eval()


def class_coverage(
    generator: nn.Module, solver: nn.Module, classes: int, seed: int = 0, samples: int = 1000
) -> tuple[float, ...]:
    """Share of each class among `samples` generated inputs with evenly drawn codes, as the solver sees them."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        code = torch.eye(classes)[torch.arange(samples) % classes]
        noise = torch.randn(samples, int(generator.noise_size), generator=draw)  # type: ignore[arg-type]
        parts = zip(noise.split(MEASURED), code.split(MEASURED), strict=True)
        seen = torch.cat([solver(generator(*part))[:, :classes].argmax(1) for part in parts])
    return tuple((torch.bincount(seen, minlength=classes).double() / samples).tolist())

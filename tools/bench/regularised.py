"""Baselines in torch that train the solver on the live images alone, with a term that holds what it knew.

"lwf" keeps the old solver's answers on the live images, softened and among the classes that it knew:
(n_new CE(y, p) + n_old T² CE(p_old, p)) / (n_new + n_old), T = 2, where n counts the classes of the live images and
those of each earlier task (Li & Hoiem, "Learning without forgetting", ECCV 2016; weighted as by van de Ven, Tuytelaars
& Tolias, 2022).

"ewc" holds weights where the old tasks' Fisher information F is large: CE + λ/2 Σ_t Σ_i F_t,i (θ_i - θ*_t,i)², a term
for each earlier task t (Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017). F is
its diagonal, E Σ_y p(y) (∂ log p(y) / ∂θ_i)² over images of the task and the labels that the solver gives them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reverie.device_runtime.method.augmentation import moved
from reverie.device_runtime.method.fit import shift_of
from reverie.device_runtime.method.models import Models
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.randomness import rng_for
from reverie.export.graphs.graphs import class_mask, masked
from reverie.export.pretraining.pretrained import load_networks, read_pretrained
from reverie.tools.bench.baselines import Task

FISHER_SAMPLES = 1000
TEMPERATURE = 2.0

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of inputs (N, *S), logits (N, C) and labels (N,)."""


class Held(NamedTuple):
    """The weights after a task, and how much each matters to it."""

    weights: dict[str, Tensor]
    fisher: dict[str, Tensor]


class Lwf:
    """One chain of updates that begins with the solver in the folder `pretrained`, widened by `spare` classes."""

    def __init__(self, pretrained: Path, spare: int) -> None:
        self._solver = _widened(pretrained, spare)

    def train(self, now: Task, monitor: Monitor) -> Models:
        """The models after an update."""
        slots, known = now.models.manifest.slots, len(now.before.classes)
        active, of_old = class_mask(len(now.models.classes), slots), class_mask(known, slots)
        new, old = len(np.unique(now.live.labels)), sum(len(np.unique(past.labels)) for past in now.earlier)
        before = copy.deepcopy(self._solver)

        def loss(inputs: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
            with torch.no_grad():
                taught = torch.softmax(masked(before(inputs), of_old) / TEMPERATURE, dim=1)
            kept = torch.log_softmax(masked(logits, of_old) / TEMPERATURE, dim=1)
            forgotten = TEMPERATURE**2 * -(taught * kept).sum(dim=1).mean()
            return (new * F.cross_entropy(masked(logits, active), labels) + old * forgotten) / (new + old)

        return _train(self._solver, now, loss, monitor)


class Ewc:
    """One chain of updates, as `Lwf`. `strength` is λ."""

    def __init__(self, pretrained: Path, spare: int, strength: float) -> None:
        self._solver = _widened(pretrained, spare)
        self._strength = strength
        self._held: list[Held] = []

    def train(self, now: Task, monitor: Monitor) -> Models:
        """The models after an update; the first call also learns what the pretraining must keep."""
        slots = now.models.manifest.slots
        if not self._held:
            self._hold(now.steps.history.inputs, class_mask(len(now.before.classes), slots), now.seed)
        active = class_mask(len(now.models.classes), slots)

        def loss(_inputs: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(masked(logits, active), labels) + self._penalty()

        updated = _train(self._solver, now, loss, monitor)
        self._hold(now.live.inputs[:], active, now.seed)
        return updated

    def _penalty(self) -> Tensor:
        named = dict(self._solver.named_parameters())
        terms = [
            (fisher * (named[name] - held.weights[name]) ** 2).sum()
            for held in self._held
            for name, fisher in held.fisher.items()
        ]
        return self._strength / 2 * torch.stack(terms).sum()

    def _hold(self, inputs: np.ndarray, active: Tensor, seed: int) -> None:
        rows = rng_for(seed, "fisher").choice(len(inputs), min(FISHER_SAMPLES, len(inputs)), replace=False)
        fisher = _fisher(self._solver, torch.from_numpy(inputs[rows]), active)
        weights = {name: value.detach().clone() for name, value in self._solver.named_parameters()}
        self._held.append(Held(weights, fisher))


def _widened(pretrained: Path, spare: int) -> nn.Module:
    return load_networks(read_pretrained(pretrained), pretrained.name, spare).solver.eval()


def _train(solver: nn.Module, now: Task, loss: Loss, monitor: Monitor) -> Models:
    """Train `solver` in place on the live images, moved as in all forms; returns the models with its weights."""
    torch.manual_seed(now.seed)
    optimizer = torch.optim.Adam(solver.parameters(), lr=now.schedule.learning_rate)
    shift = shift_of(now.models, now.schedule)
    solver.train()
    with monitor.stage("fine-tune"):
        for step in range(now.schedule.steps):
            rows = now.live.rows(rng_for(now.seed, "live", step), now.schedule.batch)
            inputs = torch.from_numpy(moved(now.live.inputs[rows], shift, rng_for(now.seed, "moved", step)))
            value = loss(inputs, solver(inputs), torch.from_numpy(now.live.labels[rows]))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            monitor.step(step + 1, now.schedule.steps, value.item())
    solver.eval()
    trained = {f"solver.{name}": value.numpy().copy() for name, value in solver.state_dict().items()}
    # Behind a backbone the solver also holds the statistics of its features, which are no weights of the bundle.
    return now.models.with_solver({name: trained[name] for name in now.models.solver if name in trained})


def _fisher(solver: nn.Module, inputs: Tensor, active: Tensor) -> dict[str, Tensor]:
    """Its diagonal, from one image and one label at a time."""
    named = {name: value for name, value in solver.named_parameters() if value.requires_grad}
    fisher = {name: torch.zeros_like(value) for name, value in named.items()}
    for image in inputs.split(1):
        log_probabilities = torch.log_softmax(masked(solver(image), active), dim=1)[0]
        for label in active.nonzero()[:, 0].tolist():
            gradients = torch.autograd.grad(log_probabilities[label], list(named.values()), retain_graph=True)
            probability = log_probabilities[label].detach().exp()
            for name, gradient in zip(named, gradients, strict=True):
                fisher[name] += probability * gradient**2 / len(inputs)
    return fisher

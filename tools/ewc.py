"""Elastic weight consolidation, in torch: weights are held where the old tasks' Fisher information is large.

loss = CE on the live images + λ/2 Σ_t Σ_i F_t,i (θ_i - θ*_t,i)², a term for each earlier task t (Kirkpatrick et al.,
"Overcoming catastrophic forgetting in neural networks", PNAS 2017). F is the diagonal of the Fisher information, with
labels as the solver itself gives them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reverie.device_runtime.models import Models
from reverie.device_runtime.monitor import Monitor
from reverie.device_runtime.randomness import rng_for
from reverie.export.graphs import class_mask, masked
from reverie.export.pretrained import load_networks, read_pretrained
from reverie.tools.baselines import Task

FISHER_SAMPLES = 1000


class Held(NamedTuple):
    """The weights after a task, and how much each matters to it."""

    weights: dict[str, Tensor]
    fisher: dict[str, Tensor]


class Ewc:
    """One chain of updates. `strength` is λ."""

    def __init__(self, pretrained: Path, spare: int, strength: float) -> None:
        """Begins with the solver in the folder `pretrained`, widened by `spare` classes."""
        self._solver = load_networks(read_pretrained(pretrained), pretrained.name, spare).solver
        self._strength = strength
        self._held: list[Held] = []

    def train(self, now: Task, monitor: Monitor) -> Models:
        """The models after an update; the first call also learns what the pretraining must keep."""
        with monitor.stage("fine-tune"):
            return self._train(now, monitor)

    def _train(self, now: Task, monitor: Monitor) -> Models:
        torch.manual_seed(now.seed)
        slots = now.models.manifest.slots
        if not self._held:
            history = now.steps.history
            self._hold(history.inputs, class_mask(len(now.before.classes), slots), now.seed)
        active = class_mask(len(now.models.classes), slots)
        optimizer = torch.optim.Adam(self._solver.parameters(), lr=now.schedule.learning_rate)
        self._solver.train()
        for step in range(now.schedule.steps):
            rows = now.live.rows(rng_for(now.seed, "ewc", step), now.schedule.batch)
            logits = masked(self._solver(torch.from_numpy(now.live.inputs[rows])), active)
            loss = F.cross_entropy(logits, torch.from_numpy(now.live.labels[rows])) + self._penalty()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(step + 1, now.schedule.steps, loss.item())
        self._solver.eval()
        self._hold(now.live.inputs[:], active, now.seed)
        trained = {f"solver.{name}": value.numpy().copy() for name, value in self._solver.state_dict().items()}
        # Behind a backbone the solver also holds the statistics of its features, which are no weights of the bundle.
        return now.models.with_solver({name: trained[name] for name in now.models.solver if name in trained})

    def _penalty(self) -> Tensor:
        named = dict(self._solver.named_parameters())
        terms = [
            (held.fisher[name] * (value - held.weights[name]) ** 2).sum()
            for held in self._held
            for name, value in named.items()
        ]
        return self._strength / 2 * torch.stack(terms).sum()

    def _hold(self, inputs: np.ndarray, active: Tensor, seed: int) -> None:
        rows = rng_for(seed, "fisher").choice(len(inputs), min(FISHER_SAMPLES, len(inputs)), replace=False)
        fisher = _fisher(self._solver, torch.from_numpy(inputs[rows]), active)
        weights = {name: value.detach().clone() for name, value in self._solver.named_parameters()}
        self._held.append(Held(weights, fisher))


def _fisher(solver: nn.Module, inputs: Tensor, active: Tensor) -> dict[str, Tensor]:
    """Diagonal of E[g gᵀ], g the gradient of the log-probability of a label drawn from the solver's output."""
    fisher = {name: torch.zeros_like(value) for name, value in solver.named_parameters()}
    for image in inputs.split(1):
        solver.zero_grad()
        log_probabilities = torch.log_softmax(masked(solver(image), active), dim=1)
        drawn = torch.multinomial(log_probabilities.detach().exp(), 1)
        log_probabilities.gather(1, drawn).sum().backward()
        for name, value in solver.named_parameters():
            if value.grad is not None:
                fisher[name] += value.grad**2 / len(inputs)
    solver.zero_grad()
    return fisher

"""A training step in eager torch, in a process that holds nothing else, so that its memory is torch's own."""

from __future__ import annotations

import os
from collections.abc import Callable

from reverie.device_runtime.method.monitor import peak_memory
from reverie.tools.bench.speed.place import LEARNING_RATE, Place, StepCost
from reverie.tools.bench.speed.turns import by_turns


def cost_in_torch(place: Place, repeats: int) -> StepCost:
    """Of a step on all cores of this process."""
    times = by_turns({"step": torch_step(place)}, repeats)
    return StepCost(times["step"], peak_memory())


def torch_step(place: Place) -> Callable[[], float]:
    """A step of the solver at `place`, which gives its loss."""
    import torch

    from reverie.export.graphs.graphs import SolverTraining
    from reverie.export.pretraining.networks import ReferenceSolver

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    module = SolverTraining(ReferenceSolver(place.shape, place.classes, place.width)).eval()
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    feeds = {name: torch.from_numpy(value) for name, value in place.feeds().items()}

    def step() -> float:
        optimizer.zero_grad()
        loss, _ = module(**feeds)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step

"""Training steps of growing solvers as a box has them; written in a process of its own for `growth.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from reverie.export.graphs import artifacts, graphs, onnx_export
from reverie.export.graphs.chunks import chunk_rows
from reverie.export.lowering import operators
from reverie.export.pretraining.networks import ReferenceSolver
from reverie.tools.bench.speed.place import Place


def write_step(place: Place, folder: Path) -> None:
    """The training graph of a solver in all its forms; in weights.npz its weights, and the rows of a chunk."""
    torch.manual_seed(0)
    module = graphs.SolverTraining(ReferenceSolver(place.shape, place.classes, place.width))
    example = {name: torch.from_numpy(value) for name, value in place._replace(batch=2).feeds().items()}
    model = onnx_export.to_onnx(module, example, ("loss", "logits"), ("active",))
    weights = {name: p.detach().numpy() for name, p in module.named_parameters()}
    rows = chunk_rows(model, sum(value.size for value in weights.values()))
    operators.make_trainable(model, set(weights))
    artifacts.prepare(model, list(weights))
    artifacts.write_training(model, list(weights), folder)
    with (folder / "weights.npz").open("wb") as file:
        np.savez(file, chunk=rows, **weights)  # type: ignore[arg-type]

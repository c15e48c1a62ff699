"""Weights that are given to pretraining, put into the solver that they are for."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from reverie.device_runtime.bundle.manifest import Backbone
from reverie.export.from_onnx.solver import OnnxSolver, compare_with_file
from reverie.export.solvers.backbone import cut_solver
from reverie.export.solvers.factories import load_weights, read_weights_file, require_own_memory


def given_weights(path: Path | None) -> dict[str, Tensor]:
    """What lies in the file that was given, if one was. Raises ExportError."""
    return {} if path is None else read_weights_file(path)


def leave_out_the_head(whole: nn.Module, weights: dict[str, Tensor], until: str, image_shape: tuple[int, ...]) -> bool:
    """Put the fresh values of what is behind the cut in the place of `weights` for other classes; whether any were.

    What differs before the cut stays, to be refused.
    """
    own = whole.state_dict()
    other = {name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape}
    if not other:
        return False
    _, rest = cut_solver(whole, Backbone(until), image_shape)
    if not other <= rest.state_dict().keys():
        return False
    weights.update({name: own[name] for name in other})
    return True


def take_weights(solver: nn.Module, path: Path | None, weights: dict[str, Tensor]) -> bool:
    """Load the `weights` of `path`, where one is given; whether the solver is trained, as a file is.

    Raises ExportError.
    """
    require_own_memory("solver", solver)
    if isinstance(solver, OnnxSolver):
        compare_with_file(solver)
    if path is not None:
        load_weights(solver, weights, path)
    return path is not None or isinstance(solver, OnnxSolver)

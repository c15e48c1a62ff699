"""Which parameters of the solver train on the device, and what share of its work that is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reverie.device_runtime.errors import ExportError
from reverie.export.from_onnx.solver import OnnxNode, OnnxSolver
from reverie.export.solvers.batch_statistics import BatchStatistics, statistics

NORMALIZATIONS = (
    nn.modules.batchnorm._BatchNorm,  # noqa: SLF001 (the only name that all of them share)
    nn.modules.instancenorm._InstanceNorm,  # noqa: SLF001
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    BatchStatistics,
)
NORMALIZING_NODES = ("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization")


@dataclass(frozen=True)
class Trainable:
    """Names of the parameters that train, and figures for the manifest.

    `compute` is the share of a forward pass's floating-point operations in the first layer that trains and all behind
    it: through the rest no gradient flows.
    """

    rule: str
    names: tuple[str, ...]
    parameters: int
    of: int
    compute: float

    def to_json(self) -> dict[str, str | int | float]:
        """As it stands in the manifest."""
        return {"rule": self.rule, "parameters": self.parameters, "of": self.of, "compute": round(self.compute, 4)}


def select(solver: nn.Module, rule: str, inputs: Tensor, of: Collection[str] | None = None) -> Trainable:
    """The parameters that `rule` names: "all", "last:N" layers, "head", "norm+bias", or a pattern of their names.

    The head, the last layer that forward calls, always trains: without it no new class could be learnt. `inputs`
    (N, *S) are run once to see the order of the layers. `of` names the parameters to choose from, all where it is not
    given: behind a backbone, `solver` is the whole model, and only its rest can train. Raises ExportError.
    """
    follow = statistics(solver)
    parameters = {
        name: value for name, value in solver.named_parameters() if name not in follow and (of is None or name in of)
    }
    layers, operations = _layers_called(solver, inputs, set(parameters))
    if not layers:
        raise ExportError("the solver calls no layer that has parameters: nothing can train")
    owner = {name: layer for layer in layers for name in _own_parameters(solver, layer)}
    # A head of two nodes, MatMul and Add, is one layer.
    head = set(solver.onnx_plan.head) if isinstance(solver, OnnxSolver) else set()
    head |= set(_own_parameters(solver, layers[-1]))
    before = [layer for layer in layers if not head.issuperset(_own_parameters(solver, layer))]
    chosen = head & parameters.keys()
    if rule == "all":
        chosen |= parameters.keys()
    elif rule.startswith("last:"):
        count = rule.removeprefix("last:")
        most = len(before) + 1
        if not count.isdigit() or not 0 < int(count) <= most:
            raise ExportError(f"--train {rule} is not last:1 to last:{most}: the solver has that many layers")
        chosen |= {name for layer in before[most - int(count) :] for name in _own_parameters(solver, layer)}
    elif rule == "norm+bias":
        of_norms = {
            name for layer in layers if _normalizes(solver.get_submodule(layer))
            for name in _own_parameters(solver, layer)
        }  # fmt: skip
        chosen |= of_norms | {name for name in parameters if name.endswith("bias")}
    elif rule != "head":
        matching = {name for name in parameters if fnmatchcase(name, rule)}
        if not matching:
            raise ExportError(
                f"--train {rule} matches no parameter: give all, last:N, head, norm+bias or a pattern such as "
                f"{layers[-1]}.*"
            )
        chosen |= matching
    first = min((layers.index(owner[name]) for name in chosen if name in owner), default=0)
    return Trainable(
        rule=rule,
        names=tuple(name for name in parameters if name in chosen),
        parameters=sum(parameters[name].numel() for name in chosen),
        of=sum(parameter.numel() for parameter in parameters.values()),
        compute=sum(operations[first:]) / max(sum(operations), 1),
    )


def _layers_called(solver: nn.Module, inputs: Tensor, of: set[str]) -> tuple[list[str], list[int]]:
    """Paths of the modules that own parameters named in `of`, as forward calls them, and the operations of each."""
    called: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda _module, _inputs, path=path: called.append(path))
        for path, module in solver.named_modules()
        if of.intersection(_own_parameters(solver, path))
    ]
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            solver.eval()(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    layers = list(dict.fromkeys(called))
    counts = counter.get_flop_counts()
    root = type(solver).__name__
    return layers, [sum(counts.get(f"{root}.{layer}", {}).values()) for layer in layers]


def _normalizes(module: nn.Module) -> bool:
    return isinstance(module, NORMALIZATIONS) or (isinstance(module, OnnxNode) and module.call.op in NORMALIZING_NODES)


def _own_parameters(solver: nn.Module, layer: str) -> list[str]:
    """Names of a layer's own parameters; a node of a file in ONNX format uses those of the solver."""
    module = solver.get_submodule(layer)
    if isinstance(module, OnnxNode | OnnxSolver):
        return list(module.uses) if isinstance(module, OnnxNode) else []
    prefix = f"{layer}." if layer else ""
    follow = statistics(module)
    return [prefix + name for name, _ in module.named_parameters(recurse=False) if f".{name}" not in follow]

"""Finding a user's torch modules, fitting weights into them, and growing them by spare class slots."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from reverie.device_runtime.errors import ExportError, first_line
from reverie.export.from_onnx.solver import SUFFIX, OnnxSolver, resize_head


def is_onnx(factory: str) -> bool:
    """Whether a network comes from a file in ONNX format and not from a factory."""
    return factory.endswith(SUFFIX)


def build_network(factory: str, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Call `package.module:factory` with those of `input_shape` and `classes` that it takes, or read `model.onnx`."""
    if is_onnx(factory):
        return OnnxSolver(Path(factory), input_shape).eval()
    make = find_callable(factory)
    available: dict[str, Any] = {"input_shape": input_shape, "classes": classes}
    takes = inspect.signature(make).parameters
    try:
        network = make(**{name: value for name, value in available.items() if name in takes})
    except Exception as error:
        raise ExportError(f"{factory} failed: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ExportError(f"{factory} returned {type(network).__name__}, not a torch.nn.Module")
    return network.eval()


MOVED = {
    "reverie.export.networks": "reverie.export.pretraining.networks",
    "reverie.tools.generators": "reverie.tools.bench.generators",
    "reverie.tools.mlp": "reverie.tools.bench.mlp",
}
"""Modules by the names under which networks that were pretrained before 2026-12 state their factories."""


def find_callable(factory: str) -> Callable[..., Any]:
    """What `package.module:callable` names, found from the current directory too. Raises ExportError.

    The directory stays among those that are searched: what was found may import more when it is called.
    """
    module_name, _, attribute = factory.partition(":")
    if not attribute:
        raise ExportError(f"{factory!r} names no factory: write package.module:factory, or a file model.onnx")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(MOVED.get(module_name, module_name))
    except Exception as error:
        raise ExportError(
            f"cannot import {module_name} ({type(error).__name__}: {error}): run where it can be imported"
        ) from error
    make = getattr(module, attribute, None)
    if not callable(make):
        near = difflib.get_close_matches(attribute, dir(module))
        raise ExportError(f"{module_name} has no factory {attribute!r}; nearest: {', '.join(near) or 'none'}")
    found: Callable[..., Any] = make
    return found


class IgnoringCode(nn.Module):
    """A generator or discriminator without class code, with the code as an input that it does not use."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        if hasattr(network, "noise_size"):
            self.noise_size = network.noise_size

    def forward(self, first: Tensor, code: Tensor) -> Tensor:
        output: Tensor = self.network(first)
        return output + 0 * code[:, :1].reshape(-1, *[1] * (output.dim() - 1))


CODE_NAMES = frozenset(("c", "class_code", "code", "codes", "cond", "condition", "label", "labels", "y"))
"""Of a second input that may be left out, by which it is known to be the class code."""
_BY_NAME_ALONE = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)


def with_code(network: nn.Module) -> nn.Module:
    """`network` itself if its forward takes a class code after its first input, else one that ignores it."""
    takes = [*inspect.signature(network.forward).parameters.values()][1:2]
    takes_code = any(p.name in CODE_NAMES or p.default is p.empty for p in takes if p.kind not in _BY_NAME_ALONE)
    return network if takes_code else IgnoringCode(network)


def run_once(what: str, network: nn.Module, *inputs: Tensor) -> Tensor:
    """Output of `network` for `inputs`. Raises ExportError."""
    try:
        with torch.no_grad():
            output: Tensor = network.eval()(*inputs)
            return output
    except Exception as error:
        given = " and ".join(str(tuple(value.shape[1:])) for value in inputs)
        raise ExportError(
            f"the {what} does not run on inputs of shape {given} ({first_line(error)}): "
            "check the size of inputs, their colour (--colour) and the number of classes"
        ) from error


def output_shape(what: str, network: nn.Module, *inputs: Tensor) -> tuple[int, ...]:
    """Shape of the output of `network` for `inputs`. Raises ExportError."""
    return tuple(run_once(what, network, *inputs).shape)


def require_shape(what: str, network: nn.Module, inputs: tuple[Tensor, ...], wanted: tuple[int, ...]) -> None:
    """Run `network` once on `inputs`; raise ExportError unless its output has the shape `wanted`."""
    shape = output_shape(what, network, *inputs)
    if shape != wanted:
        raise ExportError(f"the {what} returns shape {shape} where {wanted} is needed: check the number of classes")


def require_own_memory(what: str, network: nn.Module) -> None:
    """Raise ExportError where two weights of `network` share memory: they could not be stored and trained apart."""
    names: dict[int, str] = {}
    for name, value in network.state_dict().items():
        first = names.setdefault(value.untyped_storage().data_ptr(), name)
        if first != name and value.numel():
            raise ExportError(f"{first} and {name} of the {what} share their memory: give each weights of its own")


def require_same_for_known(
    what: str, narrow: nn.Module, wide: nn.Module, input_shape: tuple[int, ...], classes: int, slots: int
) -> None:
    """Raise ExportError unless `wide`, built for `slots` classes, does for the first `classes` what `narrow` does."""
    draw = torch.Generator().manual_seed(0)
    sized = what == "generator" and hasattr(narrow, "noise_size")
    first = (int(narrow.noise_size),) if sized else input_shape  # type: ignore[arg-type]
    inputs = torch.randn(classes, *first, generator=draw)

    def answer(network: nn.Module, width: int) -> Tensor:
        if what == "solver":
            return run_once(what, network, inputs)[:, :classes]
        return run_once(what, with_code(network), inputs, torch.eye(width)[:classes])

    before, after = answer(narrow, classes), answer(wide, slots)
    if before.shape != after.shape or not torch.allclose(before, after, rtol=1e-4, atol=1e-5):
        raise ExportError(
            f"spare classes would change what the {what} does for known ones: let classes come last along the axis of "
            "each weight that grows with them, or export with --spare-classes 0"
        )


def takes_classes(factory: str) -> bool:
    """Whether the factory has a parameter `classes`, so that it can build its network with spare slots."""
    if is_onnx(factory):
        return False
    module_name, _, attribute = factory.partition(":")
    return "classes" in inspect.signature(getattr(sys.modules[module_name], attribute)).parameters


def read_weights_file(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from a torch file without executing anything in it."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        return dict(loaded.get("state_dict", loaded))
    except FileNotFoundError:
        raise ExportError(f"there is no file {path}: check the path of the weights") from None
    except Exception as error:
        raise ExportError(
            f"cannot read weights from {path} ({type(error).__name__}): give a state dict as .safetensors or .pt"
        ) from error


def load_weights(
    network: nn.Module, weights: dict[str, Tensor], where: object, classes: int = 0, slots: int = 0
) -> None:
    """Load `weights`, trained for `classes`, into `network`, built for `slots` classes.

    An axis that is longer by the spare slots ends in the classes; a new slot starts as their average.
    Raises ExportError naming what differs.
    """
    wanted = network.state_dict()
    missing, surplus = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or surplus:
        raise ExportError(
            f"{where} does not fit: it lacks {_some(missing)} and holds {_some(surplus)} in surplus; "
            "is it from this network?"
        )
    grown = {name: _grow(weights[name], target.shape, classes, slots) for name, target in wanted.items()}
    for name, value in grown.items():
        if value.shape != wanted[name].shape:
            raise ExportError(
                f"{where} does not fit: {name} is {tuple(value.shape)}, the network has {tuple(wanted[name].shape)}"
            )
    network.load_state_dict(grown)


def _grow(value: Tensor, shape: torch.Size, classes: int, slots: int) -> Tensor:
    spare = slots - classes
    for axis in range(min(value.dim(), len(shape))):
        if spare > 0 and shape[axis] == value.shape[axis] + spare and value.shape[axis] >= classes:
            known = value.narrow(axis, value.shape[axis] - classes, classes)
            average = known.mean(dim=axis, keepdim=True)
            value = torch.cat([value, average.repeat_interleave(spare, dim=axis)], dim=axis)
    return value


def widen_classifier(solver: nn.Module, input_shape: tuple[int, ...], classes: int, slots: int) -> None:
    """Give the last linear layer of `solver` outputs for all `slots`; new ones start as the average class."""
    outputs = count_outputs(solver, input_shape, classes)
    if outputs != classes:
        raise ExportError(f"the solver has {outputs} outputs, but {classes} class names are given: name each output")
    images = torch.randn(8, *input_shape, generator=torch.Generator().manual_seed(0))
    narrow = run_once("solver", solver, images)
    if (narrow >= 0).all() and torch.allclose(narrow.sum(1), torch.ones(len(narrow))):
        raise ExportError("the solver returns probabilities where logits are needed: leave its softmax out")
    if classes == slots:
        return
    _widen(solver, classes, slots)
    wide = run_once("solver", solver, images)[:, :classes]
    if not torch.allclose(narrow.log_softmax(1), wide.log_softmax(1), rtol=1e-4, atol=1e-4):
        raise ExportError(
            "spare classes would change what the solver does for known ones, since its last layer is more than linear: "
            "let its factory take `classes`, or export with --spare-classes 0"
        )


def _widen(solver: nn.Module, classes: int, slots: int) -> None:
    if isinstance(solver, OnnxSolver):
        resize_head(solver, lambda weight, axis: _grow(weight, _sized(weight.shape, axis, slots), classes, slots))
        return
    name, layer = _classifier(
        solver, classes, "to add spare classes to: let its factory take `classes`, or export with --spare-classes 0"
    )
    wider = nn.Linear(layer.in_features, slots, bias=layer.bias is not None)
    state = {key: value.detach() for key, value in layer.state_dict().items()}
    load_weights(wider, state, name, classes, slots)
    _replace(solver, name, wider)


def fit_classifier(solver: nn.Module, input_shape: tuple[int, ...], classes: int) -> bool:
    """Give `solver` a new last linear layer for `classes` unless it has as many outputs; whether it was needed."""
    outputs = count_outputs(solver, input_shape, classes)
    if outputs == classes:
        return False
    if isinstance(solver, OnnxSolver):
        resize_head(solver, lambda weight, axis: _fresh(_sized(weight.shape, axis, classes), axis))
        return True
    name, layer = _classifier(solver, outputs, f"to put one with {classes} in the place of: let its factory do it")
    _replace(solver, name, nn.Linear(layer.in_features, classes, bias=layer.bias is not None))
    return True


def count_outputs(solver: nn.Module, input_shape: tuple[int, ...], classes: int) -> int:
    """Logits of `solver`, of which `classes` are wanted. Raises ExportError where it returns something else."""
    shape = output_shape("solver", solver, torch.zeros(2, *input_shape))
    if len(shape) != 2:
        raise ExportError(f"the solver returns shape {shape} where (2, {classes}) is needed: one logit a class")
    return shape[1]


def _classifier(solver: nn.Module, outputs: int, otherwise: str) -> tuple[str, nn.Linear]:
    """Path of the last linear layer with `outputs`, and the layer."""
    candidates = [
        (name, layer)
        for name, layer in solver.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == outputs
    ]
    if not candidates:
        raise ExportError(f"the solver has no linear layer with {outputs} outputs {otherwise}")
    return candidates[-1]


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent_name, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent_name), child, layer)


def _sized(shape: torch.Size, axis: int, classes: int) -> torch.Size:
    return torch.Size([classes if at == axis else side for at, side in enumerate(shape)])


def _fresh(shape: torch.Size, axis: int) -> Tensor:
    """A weight for the classes along `axis` as torch starts a linear layer; a bias, of one value a class, with 0."""
    inputs = shape.numel() // shape[axis]
    return torch.zeros(shape) if inputs == 1 else torch.empty(shape).uniform_(-1, 1) / inputs**0.5


def _some(names: list[str]) -> str:
    return (", ".join(names[:3]) + (" ..." if len(names) > 3 else "")) or "nothing"

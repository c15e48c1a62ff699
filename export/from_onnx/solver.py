"""A solver given as `model.onnx` → a torch module that computes the same and trains like any other.

Initialisers that are a layer's weights become parameters under their names; other constants stay as they are. The
batch size is opened where the file fixes it, and a file that takes images (N, H, W, C) gets them turned.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from onnx import NodeProto
from torch import Tensor, nn

from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.errors import ExportError, ReverieError, first_line
from reverie.export.from_onnx.file import OnnxFile, head_of, place, read_onnx, weights_of
from reverie.export.from_onnx.functions import FUNCTIONS
from reverie.export.from_onnx.values import Call, Value
from reverie.export.graphs import parity

SUFFIX = ".onnx"
BATCHES = (1, 3)
"""Numbers of images for which the module is compared with the file."""


class OnnxNode(nn.Module):
    """One node of a graph. `uses` names the parameters of the solver that it uses, which a torch layer would own."""

    def __init__(self, call: Call, uses: tuple[str, ...]) -> None:
        super().__init__()
        self.call, self.uses = call, uses

    def forward(self, *values: Value | None) -> Any:
        """Its output, or a tuple of them."""
        return FUNCTIONS[self.call.op](self.call, *values)


@dataclass(frozen=True)
class Plan:
    """How a file is evaluated; `steps` are (name of the node, what and where it is, inputs, outputs).

    `parameters` and `buffers` say under which name the module holds a value of the graph, `arrays` are the sizes and
    numbers among the values, `head` names the parameters that grow with the classes, with the axis that does.
    """

    path: Path
    input_shape: tuple[int, ...]
    file: OnnxFile
    steps: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...]
    parameters: Mapping[str, str]
    buffers: Mapping[str, str]
    arrays: Mapping[str, np.ndarray]
    head: Mapping[str, int]
    last: tuple[tuple[str, ...], ...]
    """Values that no step after one needs, for each step."""


class OnnxSolver(nn.Module):
    """`forward`: images (N, C, H, W) → logits (N, classes). Its parameters have the names of the initialisers."""

    def __init__(self, path: Path, input_shape: tuple[int, ...]) -> None:
        """Raises ExportError."""
        super().__init__()
        file = read_onnx(path, input_shape)
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
        weights = weights_of(file.graph)
        odd = [name for name in weights if arrays[name].dtype != np.float32]
        if odd:
            raise ExportError(f"weight {odd[0]} of {path} is {arrays[odd[0]].dtype}: write the model in float32")
        names = _torch_names(weights)
        for name, own in names.items():
            _put(self, own, nn.Parameter(torch.from_numpy(arrays[name].copy())))
        known = {name: array for name, array in arrays.items() if name not in weights}
        self.onnx_nodes = nn.ModuleDict()
        steps: list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] = []
        for node, call in _folded(file.graph.node, known, file.batch):
            name = _module_name(node.name) or node.op_type
            name = f"{name}_{len(steps)}" if name in self.onnx_nodes or hasattr(nn.ModuleDict, name) else name
            uses = tuple(names[weight] for weight, outputs in weights.items() if node.output[0] in outputs)
            self.onnx_nodes[name] = OnnxNode(call, uses)
            steps.append((name, f"{node.op_type} at {place(node)}", tuple(node.input), tuple(node.output)))
        needed = {source for _, _, inputs, _ in steps for source in inputs} & known.keys()
        tensors = sorted(name for name in needed if _is_tensor(known[name]))
        buffers = {name: f"onnx_constant_{number}" for number, name in enumerate(tensors)}
        for name, buffer in buffers.items():
            self.register_buffer(buffer, torch.from_numpy(known[name].copy()), persistent=False)
        left = {name: known[name] for name in needed - buffers.keys()}
        head = {names[name]: axis for name, axis in head_of(file.graph).items()}
        result = file.graph.output[0].name
        self.onnx_plan = Plan(path, input_shape, file, tuple(steps), names, buffers, left, head, _last(steps, result))

    def forward(self, images: Tensor) -> Tensor:
        """Evaluate the nodes in the order of the file. Raises ExportError naming the node that fails."""
        plan = self.onnx_plan
        values: dict[str, Any] = {"": None, **plan.arrays}
        values[plan.file.input] = images.permute(0, 2, 3, 1) if plan.file.channels_last else images
        values |= {name: self.get_buffer(own) for name, own in plan.buffers.items()}
        values |= {name: self.get_parameter(own) for name, own in plan.parameters.items()}
        for (name, what, inputs, outputs), over in zip(plan.steps, plan.last, strict=True):
            try:
                result = self.onnx_nodes[name](*(values[source] for source in inputs))
            except Exception as error:
                raise ExportError(f"{what} of {plan.path}: {first_line(error)}") from error
            values |= zip(outputs, result if isinstance(result, tuple) else (result,), strict=False)
            for value in over:  # whose memory is wanted for the next
                values.pop(value, None)
        logits: Tensor = values[plan.file.graph.output[0].name]
        return logits


def compare_with_file(solver: OnnxSolver) -> parity.Difference:
    """The worst difference of `solver`, with the weights of its file, from the file in onnxruntime.

    Random images; a file that fixes the batch size gets them in such batches. Raises ExportError where the two differ
    by more than parity.TOLERANCE, or where what the file computes cannot be opened to any number of images.
    """
    plan = solver.onnx_plan
    try:
        graph = Graph(plan.file.original)
    except ReverieError as error:
        raise ExportError(f"{plan.path}: {error}") from error
    draw = torch.Generator().manual_seed(0)
    differences = []
    for count in BATCHES:
        images = torch.randn(count * (plan.file.batch or 1), *plan.input_shape, generator=draw)
        laid_out = images.permute(0, 2, 3, 1) if plan.file.channels_last else images
        parts = laid_out.split(plan.file.batch) if plan.file.batch else [laid_out]
        try:
            theirs = [graph.run({plan.file.input: part.contiguous().numpy()}) for part in parts]
            with torch.no_grad():
                ours = solver.eval()(images)
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(f"{plan.path} does not run on {count} images ({first_line(error)})") from error
        if ours.shape[:1] != images.shape[:1]:
            raise ExportError(
                f"{plan.path} computes with the number of images that it is written for, {plan.file.batch}: write "
                "it with a free batch size (dynamic_shapes or dynamic_axes of torch.onnx.export)"
            )
        together = np.concatenate([next(iter(outputs.values())) for outputs in theirs])
        differences.append(parity.compare({"logits": together}, {"logits": ours}))
    worst = max(differences, key=lambda difference: difference.relative)
    parity.require(worst, f"{plan.path} evaluated in torch", "onnxruntime computes from it")
    return worst


def resize_head(solver: OnnxSolver, resized: Callable[[Tensor, int], Tensor]) -> None:
    """Replace the parameters that grow with the classes by `resized(parameter, axis)`. Raises ExportError."""
    plan = solver.onnx_plan
    if not plan.head:
        raise ExportError(
            f"no linear layer or convolution makes the logits of {plan.path}, so that their number cannot change: "
            "give one with an output for each class, and export with --spare-classes 0"
        )
    with torch.no_grad():
        for name, axis in plan.head.items():
            _put(solver, name, nn.Parameter(resized(solver.get_parameter(name), axis)))


def _last(
    steps: Sequence[tuple[str, str, tuple[str, ...], tuple[str, ...]]], result: str
) -> tuple[tuple[str, ...], ...]:
    """For each step, the values that it is the last to take, but for the `result`."""
    at = {value: number for number, (_, _, inputs, _) in enumerate(steps) for value in inputs if value}
    ends: list[list[str]] = [[] for _ in steps]
    for value, number in at.items():
        if value != result:
            ends[number].append(value)
    return tuple(map(tuple, ends))


def node_path(name: str) -> str:
    """Path of the module for the node that a file calls `name`."""
    return f"onnx_nodes.{_module_name(name)}"


def _module_name(node: str) -> str:
    return re.sub(r"\W+", "_", node).strip("_")


def _torch_names(weights: Collection[str]) -> dict[str, str]:
    """Initialisers' names as a torch module can hold them: "/" becomes ".", other signs "_"."""
    names: dict[str, str] = {}
    for name in weights:
        parts = [re.sub(r"\W", "_", part) for part in re.split(r"[./]", name) if part]
        own = ".".join(f"{part}_" if hasattr(nn.Module, part) else part for part in parts) or "weight"
        taken = any(f"{own}.".startswith(f"{other}.") or other.startswith(f"{own}.") for other in names.values())
        names[name] = f"{own.replace('.', '_')}_{len(names)}" if taken else own
    return names


def _put(solver: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Register `parameter` under its dotted name."""
    *folders, last = name.split(".")
    for folder in folders:
        if not hasattr(solver, folder):
            solver.add_module(folder, nn.Module())
        solver = getattr(solver, folder)
    solver.register_parameter(last, parameter)


def _is_tensor(array: np.ndarray) -> bool:
    """Whether a constant is computed with as a tensor; the rest are sizes, places and single numbers."""
    return array.dtype.kind == "f" and array.size > 1


def _folded(
    nodes: Iterable[NodeProto], known: dict[str, np.ndarray], batch: int | None
) -> list[tuple[NodeProto, Call]]:
    """The nodes that depend on images or weights; what the others compute is added to `known`."""
    left = []
    for node in nodes:
        attributes = {a.name: _plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}
        call = Call(node.op_type, attributes, len(node.output), batch)
        if node.op_type == "Constant":
            known[node.output[0]] = _constant(attributes)
        elif all(source in known for source in node.input if source):
            arrays = [known[source] if source else None for source in node.input]
            values = [torch.from_numpy(a) if a is not None and _is_tensor(a) else a for a in arrays]
            result = FUNCTIONS[node.op_type](call, *values)
            results = result if isinstance(result, tuple) else (result,)
            known |= {n: v.numpy() if isinstance(v, Tensor) else v for n, v in zip(node.output, results, strict=False)}
        else:
            left.append((node, call))
    return left


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _constant(attributes: dict[str, Any]) -> np.ndarray:
    """Value of a Constant node."""
    value = next(iter(attributes.values()))
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value).copy()
    return np.asarray(value, np.float32 if "value_float" in attributes or "value_floats" in attributes else None)

"""ONNX graph as torch writes it → the same function in operators whose gradient is right on the device.

The rules are in `rules` and `shapes`, one function for each operator. This file finds the nodes, hands each to its rule
as a `Site`, and puts what the rule emits in the node's place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
import onnx.numpy_helper
from onnx import NodeProto
from onnx.reference import ReferenceEvaluator

from reverie.device_runtime.errors import ExportError


class CannotLowerError(ExportError):
    """A rule does not cover this use of its operator; the message says which uses it covers."""


class Rule(Protocol):
    """Emits a node's replacement at `site` and returns the values that take the place of its outputs."""

    def __call__(self, site: Site) -> Sequence[str] | None:
        """None leaves the node as it is. Raises CannotLowerError."""


class Known:
    """What is known of the values of a graph: shapes, types, constants, who makes one, how many use it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = onnx.shape_inference.infer_shapes(model).graph
        self.shapes: dict[str, tuple[int | None, ...]] = {}
        self.types: dict[str, int] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor = value.type.tensor_type
            self.types[value.name] = tensor.elem_type
            if tensor.HasField("shape"):
                sides = [side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim]
                self.shapes[value.name] = tuple(sides)
        for tensor in model.graph.initializer:
            self.shapes[tensor.name], self.types[tensor.name] = tuple(tensor.dims), tensor.data_type
        self.constants = constants(model.graph)
        self.producers = {output: node for node in model.graph.node for output in node.output}
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.uses.update(output.name for output in model.graph.output)
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)


REARRANGING = frozenset(("Add", "Cast", "Concat", "Range", "Reshape", "Squeeze", "Sub", "Unsqueeze"))
"""What torch puts between a Constant and the node that takes it as axes, steps or sizes."""


def constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Values of initializers and Constant nodes, by name, and of whole numbers that are made of these."""
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            value = onnx.helper.get_attribute_value(node.attribute[0])
            is_tensor = isinstance(value, onnx.TensorProto)
            values[node.output[0]] = onnx.numpy_helper.to_array(value) if is_tensor else np.asarray(value)
        elif node.op_type in REARRANGING and values.keys() >= {*node.input}:
            feeds = {name: values[name] for name in node.input}
            if any(value.dtype.kind != "i" for value in feeds.values()):
                continue
            values[node.output[0]] = np.asarray(next(iter(ReferenceEvaluator(node).run(None, feeds))))
    return values


class Site:
    """One node that a rule replaces: what is known of it, and the nodes that take its place."""

    def __init__(self, node: NodeProto, known: Known, name: str = "") -> None:
        """`name`, which no other site of the graph has, begins the names of the values that are emitted here."""
        self.node = node
        self.known = known
        self.nodes: list[NodeProto] = []
        self._name = name

    def input(self, index: int) -> str:
        """Name of an input, or "" where an optional one is not given."""
        return str(self.node.input[index]) if index < len(self.node.input) else ""

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute, text as str."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def rank(self, name: str) -> int:
        """Number of axes of a value. Raises CannotLowerError."""
        if name not in self.known.shapes:
            raise CannotLowerError("its input has an unknown number of axes")
        return len(self.known.shapes[name])

    def sides(self, name: str, start: int = 1) -> tuple[int, ...]:
        """Sizes of the axes of a value from `start` on, which must be fixed. Raises CannotLowerError."""
        self.rank(name)
        sides = self.known.shapes[name][start:]
        if any(side is None for side in sides):
            raise CannotLowerError("only its batch size may be free")
        return tuple(side or 0 for side in sides)

    def constant_input(self, index: int) -> np.ndarray:
        """Value of an input that must be a constant. Raises CannotLowerError."""
        if self.input(index) not in self.known.constants:
            raise CannotLowerError(f"its input number {index + 1} must be constant")
        return self.known.constants[self.input(index)]

    def emit(self, op: str, *inputs: str | float | np.ndarray, **attributes: Any) -> str:
        """Add a node; numbers become float32 constants and arrays constants of their own type. Returns its output."""
        (output,) = self.emit_several(op, (True,), *inputs, **attributes)
        return output

    def emit_several(
        self, op: str, wanted: Sequence[bool], *inputs: str | float | np.ndarray, **attributes: Any
    ) -> tuple[str, ...]:
        """Add a node as `emit`, with an output for each of `wanted`; returns their names, "" for one not wanted."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        name = f"{self._name}.{len(self.nodes)}"
        outputs = tuple(f"{name}.{i}" if i else name for i in range(len(wanted)))
        outputs = tuple(output if is_wanted else "" for output, is_wanted in zip(outputs, wanted, strict=True))
        self.nodes.append(onnx.helper.make_node(op, names, outputs, name=name, **attributes))
        return outputs

    def _constant(self, value: float | np.ndarray) -> str:
        array = value if isinstance(value, np.ndarray) else np.asarray(value, np.float32)
        return self.emit("Constant", value=onnx.numpy_helper.from_array(array))

    def finish(self, results: Sequence[str]) -> list[NodeProto]:
        """The emitted nodes, with the node's own output names for `results` and its place as their place."""
        for result, output in zip(results, self.node.output, strict=False):
            if output and result:
                self.nodes.append(onnx.helper.make_node("Identity", [result], [output], name=f"{self._name}.{output}"))
        for node in self.nodes:
            node.metadata_props.extend(self.node.metadata_props)
        return self.nodes


def lower(
    model: onnx.ModelProto, rules: Mapping[str, Rule], name: str = "lowered", known: Known | None = None
) -> dict[str, str]:
    """Rewrite `model` in place; returns why for each node, by its first output, that its rule does not cover.

    `name`, another one for each time that a model is rewritten, begins the names of the new values. `known` is of
    `model`, where that was found out already.
    """
    known = known or Known(model)
    kept: dict[str, str] = {}
    nodes: list[NodeProto] = []
    for number, node in enumerate(model.graph.node):
        site = Site(node, known, f"{name}.{number}.{node.op_type}")
        results = None
        try:
            results = rules[node.op_type](site) if node.op_type in rules else None
        except CannotLowerError as error:
            kept[node.output[0]] = str(error)
        nodes += [node] if results is None else site.finish(results)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    keep_used(model.graph)
    return kept


def keep_used(graph: onnx.GraphProto) -> None:
    """Leave in `graph` the nodes that its outputs depend on."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept[::-1])

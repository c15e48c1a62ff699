"""A gradient graph → the same graph for processors with a given block size; see `blocked_layout`."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import NodeProto

from reverie.export.lowering.lowering import Known, constants, keep_used, lower
from reverie.export.rewriting.blocked_convolution import BlockedConvolution
from reverie.export.rewriting.blocked_layout import DOMAIN
from reverie.export.rewriting.blocked_pooling import BlockedPooling

BLOCKS = (8, 16)
"""Block sizes of the processors that have fast kernels: x86-64, and with AVX-512."""

ACTIVATIONS = frozenset(("Clip", "LeakyRelu", "Relu"))
"""What the kernels of convolutions apply to their results."""

ELEMENTWISE = ACTIVATIONS | {"Add", "HardSigmoid", "Max", "Min", "Mul", "Neg", "Sub", "Sum", "Tanh"}
"""Operators that do the same in any layout."""


def blocked(model: onnx.ModelProto, block: int) -> onnx.ModelProto:
    """A copy of `model` whose convolutions and poolings run in the blocked layout, with `block` channels a block."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    known = Known(result)
    rules = BlockedConvolution(block).rules() | BlockedPooling(block).rules()
    lower(result, rules, f"blocked{block}", known)
    same = _without_identities(result.graph)
    renamed = {name: output for output, name in same.items() if output in known.shapes}
    shapes = known.shapes | {name: known.shapes[output] for name, output in renamed.items()}
    _Layouts(result.graph, shapes).carry_on()
    # No inference of shapes knows the blocked operators, and rules that follow ask for those of images.
    result.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, known.types[output], shapes[name]) for name, output in renamed.items()
    )
    if DOMAIN not in {opset.domain for opset in result.opset_import}:
        result.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return result


def _without_identities(graph: onnx.GraphProto) -> dict[str, str]:
    """Take away Identity nodes, but those that make an output of the graph; which value stands for the one of each."""
    outputs = {output.name for output in graph.output}
    same: dict[str, str] = {}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        for i, name in enumerate(node.input):
            node.input[i] = same.get(name, name)
        if node.op_type == "Identity" and node.output[0] not in outputs:
            same[node.output[0]] = node.input[0]
        else:
            graph.node.append(node)
    return same


class _Layouts:
    """Which values of a graph exist in the blocked layout, so that it changes only where a node needs the other one."""

    def __init__(self, graph: onnx.GraphProto, shapes: dict[str, tuple[int | None, ...]]) -> None:
        """`shapes` are those of plain values, as far as they are known."""
        self.graph = graph
        self.shapes = shapes
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.scalars = {name: float(value.item()) for name, value in constants(graph).items() if value.size == 1}
        self.makers = {node.output[0]: node for node in graph.node}
        self.blocked: dict[str, str] = {}
        """Plain value → its blocked form."""
        self.channels: dict[str, int] = {}
        """Channels of blocked values."""
        self.same: dict[str, str] = {}
        """Value → the one that takes its place."""
        self.nodes: list[NodeProto] = []

    def carry_on(self) -> None:
        """Run what lies between blocked operators in the blocked layout too."""
        for node in self.graph.node:
            for i, name in enumerate(node.input):
                node.input[i] = self.same.get(name, name)
            first, output = node.input[0] if node.input else "", node.output[0]
            if node.op_type == "ReorderInput" and first in self.blocked:
                self.same[output] = self.blocked[first]
            elif self._is_activation(node) and self._is_convolved_for(first):
                self._activate(node)
            elif node.op_type in ELEMENTWISE and self._has_blocked_inputs(node):
                self._run_blocked(node)
            else:
                self.nodes.append(node)
                if node.op_type == "ReorderInput":
                    self.blocked[first] = output
                elif node.op_type == "ReorderOutput":
                    self._remember(output, first, node.attribute[0].i)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        keep_used(self.graph)

    def _remember(self, plain: str, blocked: str, channels: int) -> None:
        self.blocked[plain], self.channels[blocked] = blocked, channels

    def _is_convolved_for(self, plain: str) -> bool:
        """Whether a blocked convolution makes this value, for one node alone."""
        maker = self.makers.get(self.blocked.get(plain, ""))
        return (
            maker is not None
            and (maker.op_type, maker.domain) == ("Conv", DOMAIN)
            and "activation" not in {attribute.name for attribute in maker.attribute}
            and self.uses[plain] == self.uses[maker.output[0]] == 1
        )

    def _is_activation(self, node: NodeProto) -> bool:
        bounded = node.op_type != "Clip" or (len(node.input) == 3 and {*node.input[1:]} <= self.scalars.keys())
        return node.op_type in ACTIVATIONS and bounded

    def _activate(self, node: NodeProto) -> None:
        """Let the convolution apply the activation."""
        convolved = self.blocked[node.input[0]]
        maker = self.makers[convolved]
        maker.attribute.append(onnx.helper.make_attribute("activation", node.op_type))
        numbers = [self.scalars[name] for name in node.input[1:]]
        if node.op_type == "LeakyRelu":
            numbers = [next((a.f for a in node.attribute if a.name == "alpha"), 0.01)]
        if numbers:
            maker.attribute.append(onnx.helper.make_attribute("activation_params", numbers))
        self._give_plain(node.output[0], convolved, self.channels[convolved])

    def _has_blocked_inputs(self, node: NodeProto) -> bool:
        """Whether all inputs but single numbers are blocked, and none is broadcast, which follows the plain layout."""
        inputs = [name for name in node.input if name not in self.scalars]
        sides = {self.shapes.get(name, ())[1:] for name in inputs}
        alike = len(set(inputs)) == 1 or (len(sides) == 1 and all(sides) and None not in next(iter(sides)))
        return bool(inputs) and alike and all(self.blocked.get(name, "") in self.channels for name in inputs)

    def _run_blocked(self, node: NodeProto) -> None:
        """The node on blocked inputs, which all have the channels of the first."""
        channels = next(self.channels[self.blocked[name]] for name in node.input if name in self.blocked)
        plain = node.output[0]
        for i, name in enumerate(node.input):
            node.input[i] = self.blocked.get(name, name)
        node.output[0] = f"{plain}.blocked"
        self.nodes.append(node)
        self._give_plain(plain, node.output[0], channels)

    def _give_plain(self, plain: str, blocked: str, channels: int) -> None:
        """The plain value for nodes that need it."""
        self._remember(plain, blocked, channels)
        self.nodes.append(
            onnx.helper.make_node(
                "ReorderOutput", [blocked], [plain], name=f"{plain}.plain", domain=DOMAIN, channels=channels
            )
        )

"""A graph whose first output is a loss → the same graph with the gradients that somebody wants.

Reverse accumulation: from the loss back, each node is handed to the rule of its operator with the gradients of its
outputs; what the rule returns is added to the gradients of its inputs. The rules are in `table`. Gradients of
convolutions and poolings are left as one node each, which `placeholders` or the blocked layout write out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx

from reverie.device_runtime.bundle.manifest import GRADIENT
from reverie.device_runtime.errors import ExportError
from reverie.export.gradients.backward import MICROSOFT, Backward, Values
from reverie.export.gradients.table import RULES
from reverie.export.lowering.lowering import REARRANGING, CannotLowerError, Known, constants
from reverie.export.lowering.operators import nodes_on_path, place


def add_gradients(model: onnx.ModelProto, wanted: Collection[str]) -> dict[str, str]:
    """Append to the lowered `model` what computes d loss / d value for each of `wanted`; returns the gradients' names.

    `wanted` are initializers or inputs of the graph, the loss is its first output. What the loss does not depend on
    has a gradient of zeros. Raises ExportError naming the operator and the module whose gradient is not known.
    """
    return _Reverse(model, wanted).run()


def _unknown(_site: Backward) -> Values:
    raise CannotLowerError("it has no rule")


def _write_constants(graph: onnx.GraphProto) -> None:
    """Put whole numbers that are made of constants down as such, where the inference of shapes looks for them."""
    values = constants(graph)
    for node in graph.node:
        if node.op_type in REARRANGING and node.output[0] in values:
            value = onnx.numpy_helper.from_array(values[node.output[0]])
            node.CopyFrom(onnx.helper.make_node("Constant", [], node.output, node.name, value=value))


class _Reverse:
    """Gradients as far as they are known, while the nodes are passed from the last to the first."""

    def __init__(self, model: onnx.ModelProto, wanted: Collection[str]) -> None:
        self.model = model
        self.wanted = wanted
        _write_constants(model.graph)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        del model.graph.value_info[:]
        model.graph.value_info.extend(inferred.graph.value_info)
        self.known = Known(model)
        self.path = nodes_on_path(model.graph, set(wanted))
        self.through = {*wanted} | {o for node in model.graph.node if node.output[0] in self.path for o in node.output}
        self.parts: dict[str, list[str]] = {}
        """Value → what its uses contribute to its gradient."""

    def run(self) -> dict[str, str]:
        graph = self.model.graph
        loss = graph.output[0].name
        forward = list(graph.node)
        start = self._site(onnx.NodeProto(), "grad")
        ones = np.ones([side or 1 for side in self.known.shapes.get(loss, ())], np.float32)
        self.parts[loss] = [start.emit("Constant", value=onnx.numpy_helper.from_array(ones))]
        graph.node.extend(start.nodes)
        for number in reversed(range(len(forward))):
            if forward[number].output[0] in self.path:
                self._pass(forward[number], f"grad.{number}.{forward[number].op_type}")
        gradients = {name: self._result(name) for name in self.wanted}
        if MICROSOFT not in {opset.domain for opset in self.model.opset_import}:
            self.model.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
        return gradients

    def _site(self, node: onnx.NodeProto, name: str, gradients: Sequence[str] = ()) -> Backward:
        return Backward(node, self.known, name, gradients, [i in self.through for i in node.input])

    def _pass(self, node: onnx.NodeProto, name: str) -> None:
        """Add what a node contributes to the gradients of its inputs."""
        gradients = [self._gradient(output) for output in node.output]
        if not any(gradients):
            return
        site = self._site(node, name, gradients)
        try:
            results = RULES.get(node.op_type, _unknown)(site)
        except CannotLowerError as error:
            raise ExportError(f"no gradient of {node.op_type} at {place(node)}: {error}") from error
        for source, result in zip(node.input, results, strict=False):
            if result and source in self.through:
                self.parts.setdefault(source, []).append(result)
        self.model.graph.node.extend(site.finish(()))

    def _gradient(self, name: str) -> str:
        """All contributions to the gradient of a value, added up; "" where there is none."""
        parts = self.parts.get(name, [])
        if not parts:
            return ""
        site = self._site(onnx.NodeProto(), f"grad.{name}")
        total = site.emit("Sum", *parts) if len(parts) > 1 else parts[0]
        self._describe(total, name)
        self.parts[name] = [total]
        self.model.graph.node.extend(site.nodes)
        return total

    def _describe(self, gradient: str, like: str) -> None:
        """State the shape of a gradient, that of its value: what follows cannot infer it through all operators."""
        if gradient not in self.known.shapes and like in self.known.shapes:
            self.known.shapes[gradient], self.known.types[gradient] = self.known.shapes[like], self.known.types[like]
            self.model.graph.value_info.append(
                onnx.helper.make_tensor_value_info(gradient, self.known.types[like], self.known.shapes[like])
            )

    def _result(self, name: str) -> str:
        """The gradient of a wanted value under its own name."""
        site = self._site(onnx.NodeProto(), f"grad.{name}.result")
        gradient = self._gradient(name) or site.emit("ConstantOfShape", site.shape_of(name))
        result = name + GRADIENT
        self.model.graph.node.extend(
            [*site.nodes, onnx.helper.make_node("Identity", [gradient], [result], name=result)]
        )
        return result

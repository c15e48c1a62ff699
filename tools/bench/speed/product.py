"""What the processor can do: a large matrix product in the device's engine, and the operations that a step needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from reverie.device_runtime.engine.graph import Graph
from reverie.tools.bench.speed.feeds import normal
from reverie.tools.bench.speed.turns import Step

SIDE = 1024
OPERATIONS = 2.0 * SIDE**3
"""Floating point operations of the product."""


def large_product() -> Step:
    """A product of two matrices of SIDE by SIDE on all cores of this process."""
    shape = (SIDE, SIDE)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "w")]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "product", inputs, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = Graph(model.SerializeToString())
    feeds: dict[str, np.ndarray] = {"x": normal(*shape), "w": normal(*shape)}
    return lambda: session.run(feeds)


def gflops(milliseconds: float) -> float:
    """GFLOP/s of a large product that takes so long."""
    return OPERATIONS / milliseconds / 1e6


def operations(step: Step) -> float:
    """Floating point operations of the convolutions and matrix products in one step of torch, gradients included."""
    counted = _Counted()  # type: ignore[no-untyped-call]
    with counted:
        step()
    return counted.operations


class _Counted(TorchDispatchMode):
    """Adds up what operators inside it need; FlopCounterMode also follows modules, and so fails in autograd.grad."""

    operations = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.operations += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result

"""What each operator of ONNX computes, in torch: the functions that a solver given as `model.onnx` is evaluated with.

Semantics: https://onnx.ai/onnx/operators, opset 18 and later.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional as F

from reverie.export.from_onnx.shape_functions import SHAPE_FUNCTIONS
from reverie.export.from_onnx.values import Call, Function, Value, axes_of, number, operand, to_tensor
from reverie.export.from_onnx.windows import WINDOW_FUNCTIONS


def _of_tensor(function: Callable[[Tensor], Tensor], of_array: Callable[[Any], Any] | None = None) -> Function:
    """An element-wise function of one value."""

    def apply(_call: Call, x: Value) -> Value:
        if isinstance(x, Tensor):
            return function(x)
        return np.asarray(of_array(x)) if of_array else function(to_tensor(x)).numpy()

    return apply


def _joined(function: Callable[[Any, Any], Any]) -> Function:
    """An element-wise function of two or more values that torch and numpy both know as an operator."""

    def apply(_call: Call, *values: Value) -> Value:
        if any(isinstance(value, Tensor) for value in values):
            joined: Tensor = functools.reduce(function, [operand(value) for value in values])
            return joined
        return np.asarray(functools.reduce(function, values))

    return apply


def _chosen(of_tensors: Callable[[Tensor, Tensor], Tensor], of_arrays: Callable[[Any, Any], Any]) -> Function:
    """The largest or smallest of values."""

    def apply(_call: Call, *values: Value) -> Value:
        like = next((value for value in values if isinstance(value, Tensor)), None)
        if like is None:
            return np.asarray(functools.reduce(of_arrays, values))
        return functools.reduce(of_tensors, [torch.as_tensor(operand(value), dtype=like.dtype) for value in values])

    return apply


def _divide(x: Any, y: Any) -> Any:
    whole = not isinstance(x, Tensor) and not isinstance(y, Tensor) and np.asarray(x).dtype.kind in "iuO"
    return x // y if whole else x / y


def _reduced(function: Callable[..., Tensor], of_array: Callable[..., Any]) -> Function:
    """A reduction over axes."""

    def apply(call: Call, x: Value, axes: Value | None = None) -> Value:
        keep, along = bool(call.get("keepdims", 1)), axes_of(call, axes, x.ndim)
        if not along:
            return x
        if not isinstance(x, Tensor):
            return np.asarray(of_array(x, axis=tuple(along), keepdims=keep))
        return function(x, along, keepdim=keep)

    return apply


def _cumulated(call: Call, x: Tensor, axis: Value) -> Tensor:
    along = int(np.asarray(axis))
    backwards = bool(call.get("reverse", 0))
    ahead = torch.flip(x, (along,)) if backwards else x
    sums = torch.cumsum(ahead, along) - (ahead if call.get("exclusive", 0) else 0)
    return torch.flip(sums, (along,)) if backwards else sums


def _length(x: Tensor, along: list[int], keepdim: bool) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=along, keepdim=keepdim)
    return length


def _extreme_place(function: Callable[..., Tensor]) -> Function:
    def apply(call: Call, x: Tensor) -> Tensor:
        if call.get("select_last_index", 0):
            raise ValueError("select_last_index is not covered")
        return function(x, dim=call.get("axis", 0), keepdim=bool(call.get("keepdims", 1)))

    return apply


def _cast(call: Call, x: Value) -> Value:
    kind = onnx.helper.tensor_dtype_to_np_dtype(call.get("to"))
    if isinstance(x, Tensor):
        return x if x.is_floating_point() and kind == np.float32 else x.to(torch.from_numpy(np.zeros(0, kind)).dtype)
    return x if x.dtype == object else x.astype(kind)


def _cast_like(_call: Call, x: Value, like: Value) -> Value:
    if isinstance(like, Tensor):
        return to_tensor(x).to(like.dtype)
    return x.to(to_tensor(like).dtype) if isinstance(x, Tensor) else x.astype(like.dtype)


def _clip(_call: Call, x: Tensor, low: Value | None = None, high: Value | None = None) -> Tensor:
    return torch.clamp(x, number(low, -torch.inf), number(high, torch.inf))


def _gemm(call: Call, a: Tensor, b: Tensor, c: Value | None = None) -> Tensor:
    a = a.T if call.get("transA", 0) else a
    alpha, beta, bias = call.get("alpha", 1.0), call.get("beta", 1.0), None if c is None else to_tensor(c)
    if call.get("transB", 0) and alpha == beta == 1.0 and (bias is None or bias.dim() == 1):
        return F.linear(a, b, bias)
    product = a @ (b.T if call.get("transB", 0) else b)
    product = product if alpha == 1.0 else product * alpha
    return product if bias is None else product + (bias if beta == 1.0 else bias * beta)


def _batch_normalization(call: Call, x: Tensor, *statistics: Tensor) -> Tensor:
    if call.get("training_mode", 0) or call.outputs > 1:
        raise ValueError("it is in training mode: write the file from the model in evaluation mode")
    scale, bias, mean, variance = (to_tensor(value) for value in statistics)
    return F.batch_norm(x, mean, variance, scale, bias, eps=call.get("epsilon", 1e-5))


def _instance_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=to_tensor(scale), bias=to_tensor(bias), eps=call.get("epsilon", 1e-5))


def _layer_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    if call.outputs > 1:
        raise ValueError("its statistics as outputs are not covered")
    shape = list(x.shape[call.get("axis", -1) % x.dim() :])
    weight, offset = (None if value is None else value.reshape(shape) for value in (scale, bias))
    return F.layer_norm(x, shape, weight, offset, call.get("epsilon", 1e-5))


def _group_normalization(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Scale and bias are of the groups in opset 18 and of the channels from 21 on."""
    groups, channels = call.get("num_groups"), x.shape[1]
    weight, offset = (
        value.reshape(-1, 1).expand(-1, channels // groups).reshape(-1) if value.numel() == groups else value
        for value in (scale, bias)
    )
    return F.group_norm(x, groups, weight, offset, call.get("epsilon", 1e-5))


def _dropout(call: Call, x: Tensor, *_ratio_and_mode: Value) -> Any:
    return (x, torch.ones_like(x, dtype=torch.bool)) if call.outputs > 1 else x


def _hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    return torch.clamp(call.get("alpha", 0.2) * x + call.get("beta", 0.5), 0.0, 1.0)


def _selu(call: Call, x: Tensor) -> Tensor:
    gamma: float = call.get("gamma", 1.0507009873554805)
    return gamma * F.elu(x, call.get("alpha", 1.6732632423543772))


FUNCTIONS: dict[str, Function] = {
    "Abs": _of_tensor(torch.abs, np.abs),
    "Add": _joined(operator.add),
    "And": _joined(operator.and_),
    "ArgMax": _extreme_place(torch.argmax),
    "ArgMin": _extreme_place(torch.argmin),
    "Atan": _of_tensor(torch.atan),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Celu": lambda call, x: F.celu(x, call.get("alpha", 1.0)),
    "Clip": _clip,
    "Cos": _of_tensor(torch.cos),
    "CumSum": _cumulated,
    "Div": _joined(_divide),
    "Dropout": _dropout,
    "Elu": lambda call, x: F.elu(x, call.get("alpha", 1.0)),
    "Equal": _joined(operator.eq),
    "Erf": _of_tensor(torch.erf),
    "Exp": _of_tensor(torch.exp),
    "Gelu": lambda call, x: F.gelu(x, approximate=call.get("approximate", "none")),
    "Gemm": _gemm,
    "Greater": _joined(operator.gt),
    "GreaterOrEqual": _joined(operator.ge),
    "GroupNormalization": _group_normalization,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _of_tensor(F.hardswish),
    "Identity": lambda _, x: x,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": lambda call, x: F.leaky_relu(x, call.get("alpha", 0.01)),
    "Less": _joined(operator.lt),
    "LessOrEqual": _joined(operator.le),
    "Log": _of_tensor(torch.log),
    "LogSoftmax": lambda call, x: torch.log_softmax(x, call.get("axis", -1)),
    "MatMul": lambda _, x, y: torch.matmul(to_tensor(x), to_tensor(y)),
    "Max": _chosen(torch.maximum, np.maximum),
    "Min": _chosen(torch.minimum, np.minimum),
    "Mish": _of_tensor(F.mish),
    "Mul": _joined(operator.mul),
    "Neg": _of_tensor(torch.neg, operator.neg),
    "Not": _of_tensor(torch.logical_not, np.logical_not),
    "Or": _joined(operator.or_),
    "PRelu": lambda _, x, slope: torch.where(x > 0, x, operand(slope) * x),
    "Pow": _joined(operator.pow),
    "Reciprocal": _of_tensor(torch.reciprocal),
    "ReduceMax": _reduced(torch.amax, np.max),
    "ReduceL2": _reduced(_length, np.linalg.norm),
    "ReduceMean": _reduced(torch.mean, np.mean),
    "ReduceMin": _reduced(torch.amin, np.min),
    "ReduceSum": _reduced(torch.sum, np.sum),
    "Relu": _of_tensor(F.relu),
    "Selu": _selu,
    "Sigmoid": _of_tensor(torch.sigmoid),
    "Sin": _of_tensor(torch.sin),
    "Softmax": lambda call, x: torch.softmax(x, call.get("axis", -1)),
    "Softplus": _of_tensor(F.softplus),
    "Sqrt": _of_tensor(torch.sqrt, lambda x: np.sqrt(np.asarray(x, np.float32))),
    "Sub": _joined(operator.sub),
    "Sum": _joined(operator.add),
    "Tanh": _of_tensor(torch.tanh),
    "Xor": _joined(operator.xor),
    **SHAPE_FUNCTIONS,
    **WINDOW_FUNCTIONS,
}
"""Operator → function; Constant is a value and has none."""

"""How each operator that does not train on the device is written in operators that do.

The first line of each docstring says what the operator becomes; `docs/operators.md` is made from them. onnx's own
function bodies are not used, because their gradients overflow (Elu takes e^x of every x) or their kernels are missing.
"""

from __future__ import annotations

import numpy as np

from reverie.export.lowering.lowering import CannotLowerError, Rule, Site
from reverie.export.lowering.shapes import SHAPE_RULES

Values = tuple[str, ...]


def batch_normalization(site: Site) -> Values:
    """x·f + (bias - mean·f), f = scale / √(variance + ε), within the Conv before it where there is one.

    Statistics are fixed, scale and bias train; a Conv that has weights times f computes the same, and so do its
    gradients, without a pass over the image for each term.
    """
    if site.attribute("training_mode", 0):
        raise CannotLowerError("it is in training mode: export in evaluation mode")
    x, scale, bias, mean, variance = (site.input(i) for i in range(5))
    deviation = site.emit("Sqrt", site.emit("Add", variance, site.attribute("epsilon", 1e-5)))
    factor = site.emit("Div", scale, deviation)
    offset = site.emit("Sub", bias, site.emit("Mul", mean, factor))
    before = site.known.producers.get(x)
    if before is not None and before.op_type == "Conv" and site.known.uses[x] == 1:
        return (_scaled_convolution(Site(before, site.known), site, factor, offset),)
    per_channel = np.array([-1] + [1] * (site.rank(x) - 2))
    factor, offset = (site.emit("Reshape", value, per_channel) for value in (factor, offset))
    return (site.emit("Add", site.emit("Mul", x, factor), offset),)


def _scaled_convolution(convolution: Site, site: Site, factor: str, offset: str) -> str:
    """A Conv, each of its output channels times `factor` plus `offset`."""
    x, weight, bias = (convolution.input(i) for i in range(3))
    per_output = np.array([-1] + [1] * (site.rank(weight) - 1))
    weight = site.emit("Mul", weight, site.emit("Reshape", factor, per_output))
    if bias:
        offset = site.emit("Add", offset, site.emit("Mul", bias, factor))
    attributes = {a.name: convolution.attribute(a.name) for a in convolution.node.attribute}
    return site.emit("Conv", x, weight, offset, **attributes)


def _standardised(site: Site, x: str, axes: np.ndarray) -> str:
    """(x - mean) / √(variance + ε) over `axes`."""
    centred = site.emit("Sub", x, site.emit("ReduceMean", x, axes))
    variance = site.emit("ReduceMean", site.emit("Mul", centred, centred), axes)
    return site.emit("Div", centred, site.emit("Sqrt", site.emit("Add", variance, site.attribute("epsilon", 1e-5))))


def _scaled(site: Site, x: str, scale: str, bias: str, shape: list[int] | None = None) -> str:
    """x·scale + bias, both reshaped; `bias` may be left out."""
    for op, value in (("Mul", scale), ("Add", bias)):
        if value:
            x = site.emit(op, x, site.emit("Reshape", value, np.array(shape)) if shape else value)
    return x


def instance_normalization(site: Site) -> Values:
    """ReduceMean over the axes after the channels, twice."""
    x, scale, bias = (site.input(i) for i in range(3))
    spatial = np.arange(2, site.rank(x))
    return (_scaled(site, _standardised(site, x, spatial), scale, bias, [-1] + [1] * len(spatial)),)


def layer_normalization(site: Site) -> Values:
    """ReduceMean over the last axes, twice."""
    x, rank = site.input(0), site.rank(site.input(0))
    axes = np.arange(site.attribute("axis", -1) % rank, rank)
    return (_scaled(site, _standardised(site, x, axes), site.input(1), site.input(2)),)


def group_normalization(site: Site) -> Values:
    """Reshape to groups, ReduceMean within each, twice."""
    x, scale, bias = (site.input(i) for i in range(3))
    sides, groups = site.sides(x), site.attribute("num_groups")
    standard = _standardised(site, site.emit("Reshape", x, np.array([0, groups, -1])), np.array([2]))
    of_groups = site.sides(scale, 0) == (groups,) != sides[:1]
    if of_groups:
        standard = _scaled(site, standard, scale, bias, [-1, 1])
    standard = site.emit("Reshape", standard, np.array([-1, *sides]))
    return (standard if of_groups else _scaled(site, standard, scale, bias, [-1] + [1] * (len(sides) - 1)),)


def _where_positive(site: Site, x: str, otherwise: str) -> Values:
    return (site.emit("Where", site.emit("Greater", x, 0.0), x, otherwise),)


def _exponential_below_zero(site: Site, x: str, alpha: float) -> str:
    """α·(e^min(x, 0) - 1), which overflows nowhere."""
    return site.emit("Mul", site.emit("Sub", site.emit("Exp", site.emit("Min", x, 0.0)), 1.0), alpha)


def elu(site: Site) -> Values:
    """Where x > 0, x, else α·(e^min(x, 0) - 1)."""
    x = site.input(0)
    return _where_positive(site, x, _exponential_below_zero(site, x, site.attribute("alpha", 1.0)))


def celu(site: Site) -> Values:
    """Where x > 0, x, else α·(e^min(x/α, 0) - 1)."""
    x, alpha = site.input(0), site.attribute("alpha", 1.0)
    return _where_positive(site, x, _exponential_below_zero(site, site.emit("Div", x, alpha), alpha))


def selu(site: Site) -> Values:
    """γ·x above 0, else γ·α·(e^min(x, 0) - 1)."""
    alpha, gamma = site.attribute("alpha", 1.6732632423543772), site.attribute("gamma", 1.0507009873554805)
    x = site.input(0)
    (chosen,) = _where_positive(site, x, _exponential_below_zero(site, x, alpha))
    return (site.emit("Mul", chosen, gamma),)


def prelu(site: Site) -> Values:
    """Where x > 0, x, else slope·x."""
    x, slope = site.input(0), site.input(1)
    return _where_positive(site, x, site.emit("Mul", x, slope))


def hard_sigmoid(site: Site) -> Values:
    """α·x + β, clipped to 0..1."""
    line = site.emit("Mul", site.input(0), site.attribute("alpha", 0.2))
    return (site.emit("Clip", site.emit("Add", line, site.attribute("beta", 0.5)), 0.0, 1.0),)


def hard_swish(site: Site) -> Values:
    """The product x·clip(x/6 + ½, 0, 1)."""
    x = site.input(0)
    line = site.emit("Add", site.emit("Div", x, 6.0), 0.5)
    return (site.emit("Mul", x, site.emit("Clip", line, 0.0, 1.0)),)


def softplus(site: Site) -> Values:
    """log(1 + e^x) up to x = 20, then x, as torch."""
    return (_softplus(site, site.input(0)),)


def _softplus(site: Site, x: str) -> str:
    bounded = site.emit("Log", site.emit("Add", site.emit("Exp", site.emit("Min", x, 20.0)), 1.0))
    return site.emit("Where", site.emit("Greater", x, 20.0), x, bounded)


def mish(site: Site) -> Values:
    """The product x·tanh(softplus(x))."""
    x = site.input(0)
    return (site.emit("Mul", x, site.emit("Tanh", _softplus(site, x))),)


def dropout(site: Site) -> Values:
    """Its input: nothing is dropped on the device."""
    return (site.input(0),)


def cast_like(site: Site) -> Values:
    """Cast to the type of its second input, which is known when the graph is written."""
    like = site.input(1)
    if like not in site.known.types:
        raise CannotLowerError("the type of its second input is unknown")
    return (site.emit("Cast", site.input(0), to=site.known.types[like]),)


def matmul(site: Site) -> Values | None:
    """Unsqueeze, MatMul and Squeeze, where a factor is a vector; other products train as they are."""
    left, right = (site.known.shapes.get(site.input(i), (None, None)) for i in range(2))
    axes = [-2] * (len(left) == 1) + [-1] * (len(right) == 1)
    if not axes:
        return None
    rows = site.emit("Unsqueeze", site.input(0), np.array([0])) if len(left) == 1 else site.input(0)
    columns = site.emit("Unsqueeze", site.input(1), np.array([1])) if len(right) == 1 else site.input(1)
    return (site.emit("Squeeze", site.emit("MatMul", rows, columns), np.array(axes)),)


RULES: dict[str, Rule] = {
    "BatchNormalization": batch_normalization,
    "CastLike": cast_like,
    "Celu": celu,
    "Dropout": dropout,
    "Elu": elu,
    "GroupNormalization": group_normalization,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "MatMul": matmul,
    "Mish": mish,
    "PRelu": prelu,
    "Selu": selu,
    "Softplus": softplus,
    **SHAPE_RULES,
}
"""Operator → its rule."""

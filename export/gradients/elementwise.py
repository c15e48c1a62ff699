"""Gradients of operators that take each value by itself, with torch's conventions where a slope turns.

Slopes that are 0 or 1 are products with HardSigmoid where that can be: the engine runs it in vectors, and comparisons
and choices value by value.
"""

from __future__ import annotations

import math

import numpy as np
import onnx

from reverie.export.gradients.backward import Backward, GradientRule, Values

STEEP = 3e38
"""So steep that every positive float32 that is not denormal, times this, is at least 1."""

FLOATS = frozenset((onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE))


def _above_zero(site: Backward, x: str) -> str:
    """1 where x > 0, else 0."""
    return site.emit("HardSigmoid", x, alpha=STEEP, beta=0.0)


def _as_number(site: Backward, condition: str) -> str:
    return site.emit("Cast", condition, to=site.kind)


def add(site: Backward) -> Values:
    """The gradient."""
    return [site.summed(site.gradient, name) if site.wants(i) else "" for i, name in enumerate(site.node.input)]


def subtract(site: Backward) -> Values:
    """The gradient, and its negative."""
    plus, minus = add(site)
    return plus, site.emit("Neg", minus) if minus else ""


def multiply(site: Backward) -> Values:
    """dy·b and dy·a; of a square 2·dy·a."""
    a, b = site.input(0), site.input(1)
    if a == b:
        return (site.emit("Mul", site.gradient, site.emit("Mul", a, 2.0)),)
    return [
        site.summed(site.emit("Mul", site.gradient, other), name) if site.wants(i) else ""
        for i, (name, other) in enumerate(((a, b), (b, a)))
    ]


def divide(site: Backward) -> Values:
    """dy/b, and -dy/b · y."""
    a, b = site.input(0), site.input(1)
    each = site.emit("Div", site.gradient, b)
    top = site.summed(each, a) if site.wants(0) else ""
    if not site.wants(1):
        return (top,)
    return top, site.emit("Neg", site.summed(site.emit("Mul", each, site.output), b))


def power(site: Backward) -> Values:
    """dy·b·a^(b-1), 0 where b is 0; and dy·y·ln a, 0 where a is 0 and b is not below it."""
    a, b, y = site.input(0), site.input(1), site.output
    down = up = ""
    if site.wants(0):
        if b in site.known.constants:
            exponent = site.known.constants[b].astype(np.float32)
            lower = np.where(exponent == 0, 0, exponent - 1).astype(np.float32)
            slope = a if (exponent == 2).all() else site.emit("Pow", a, lower)
            slope = site.emit("Mul", slope, exponent)
        else:
            exponent_name = site.emit("Cast", b, to=site.kind)
            slope = site.emit("Mul", exponent_name, site.emit("Pow", a, site.emit("Sub", exponent_name, 1.0)))
            slope = site.emit("Where", site.emit("Equal", exponent_name, 0.0), 0.0, slope)
        down = site.summed(site.emit("Mul", site.gradient, slope), a)
    if site.wants(1):
        flat = site.emit("And", site.emit("Equal", a, 0.0), site.emit("GreaterOrEqual", b, 0.0))
        slope = site.emit("Where", flat, 0.0, site.emit("Mul", y, site.emit("Log", a)))
        up = site.summed(site.emit("Mul", site.gradient, slope), b)
    return down, up


def extreme(site: Backward) -> Values:
    """To the inputs that equal the output, in equal shares."""
    equal = [_as_number(site, site.emit("Equal", name, site.output)) for name in site.node.input]
    count = site.emit("Sum", *equal)
    share = site.emit("Div", site.gradient, count)
    return [
        site.summed(site.emit("Mul", share, one), name) if site.wants(i) else ""
        for i, (name, one) in enumerate(zip(site.node.input, equal, strict=True))
    ]


def where(site: Backward) -> Values:
    """The gradient where the condition chose the input, else 0."""
    condition, a, b = (site.input(i) for i in range(3))
    first = site.emit("Where", condition, site.gradient, 0.0) if site.wants(1) else ""
    second = site.emit("Where", condition, 0.0, site.gradient) if site.wants(2) else ""
    return "", site.summed(first, a) if first else "", site.summed(second, b) if second else ""


def clip(site: Backward) -> Values:
    """Dy where the value stayed as it is, the bounds included; not at those of ReLU6, where torch has 0."""
    site.refuse(1, "bounds")
    site.refuse(2, "bounds")
    x, y = site.input(0), site.output
    if [site.known.constants.get(site.input(i)) for i in (1, 2)] == [0, 6]:
        inside = _above_zero(site, site.emit("Mul", y, site.emit("Sub", 6.0, y)))
    else:
        inside = _as_number(site, site.emit("Equal", x, y))
    return (site.emit("Mul", site.gradient, inside),)


def relu(site: Backward) -> Values:
    """Dy where y > 0."""
    return (site.emit("Mul", site.gradient, _above_zero(site, site.output)),)


def leaky_relu(site: Backward) -> Values:
    """Dy where x > 0, else α·dy; for α from 0 to 1, y has the sign of x and needs no comparison."""
    alpha = site.attribute("alpha", 0.01)
    if 0 <= alpha <= 1:
        slope = site.emit("Clip", site.emit("Mul", site.output, STEEP), alpha, 1.0)
    else:
        slope = site.emit("Where", site.emit("Greater", site.input(0), 0.0), 1.0, alpha)
    return (site.emit("Mul", site.gradient, slope),)


def absolute(site: Backward) -> Values:
    """dy·sign(x)."""
    return (site.emit("Mul", site.gradient, site.emit("Sign", site.input(0))),)


def cast(site: Backward) -> Values:
    """Dy in the type of x; none flows through whole numbers."""
    kind = site.known.types.get(site.input(0))
    if kind not in FLOATS or site.attribute("to") not in FLOATS:
        return ()
    return (site.emit("Cast", site.gradient, to=kind),)


def identity(site: Backward) -> Values:
    """The gradient."""
    return (site.gradient,)


def negative(site: Backward) -> Values:
    """-dy."""
    return (site.emit("Neg", site.gradient),)


def exponential(site: Backward) -> Values:
    """dy·y."""
    return (site.emit("Mul", site.gradient, site.output),)


def logarithm(site: Backward) -> Values:
    """dy/x."""
    return (site.emit("Div", site.gradient, site.input(0)),)


def square_root(site: Backward) -> Values:
    """dy/2y."""
    return (site.emit("Div", site.gradient, site.emit("Mul", site.output, 2.0)),)


def reciprocal(site: Backward) -> Values:
    """-dy·y²."""
    square = site.emit("Mul", site.output, site.output)
    return (site.emit("Neg", site.emit("Mul", site.gradient, square)),)


def error_function(site: Backward) -> Values:
    """Dy · 2/√π · e^-x²."""
    x = site.input(0)
    bell = site.emit("Exp", site.emit("Neg", site.emit("Mul", x, x)))
    return (site.emit("Mul", site.gradient, site.emit("Mul", bell, 2 / math.sqrt(math.pi))),)


def sigmoid(site: Backward) -> Values:
    """dy·y·(1 - y)."""
    slope = site.emit("Mul", site.output, site.emit("Sub", 1.0, site.output))
    return (site.emit("Mul", site.gradient, slope),)


def tanh(site: Backward) -> Values:
    """dy·(1 - y²)."""
    slope = site.emit("Sub", 1.0, site.emit("Mul", site.output, site.output))
    return (site.emit("Mul", site.gradient, slope),)


def sine(site: Backward) -> Values:
    """dy·cos x."""
    return (site.emit("Mul", site.gradient, site.emit("Cos", site.input(0))),)


def cosine(site: Backward) -> Values:
    """-dy·sin x."""
    return (site.emit("Neg", site.emit("Mul", site.gradient, site.emit("Sin", site.input(0)))),)


def arc_tangent(site: Backward) -> Values:
    """dy/(1 + x²)."""
    x = site.input(0)
    return (site.emit("Div", site.gradient, site.emit("Add", site.emit("Mul", x, x), 1.0)),)


ELEMENTWISE: dict[str, GradientRule] = {
    "Abs": absolute,
    "Add": add,
    "Atan": arc_tangent,
    "Cast": cast,
    "Clip": clip,
    "Cos": cosine,
    "Div": divide,
    "Erf": error_function,
    "Exp": exponential,
    "Identity": identity,
    "LeakyRelu": leaky_relu,
    "Log": logarithm,
    "Max": extreme,
    "Min": extreme,
    "Mul": multiply,
    "Neg": negative,
    "Pow": power,
    "Reciprocal": reciprocal,
    "Relu": relu,
    "Sigmoid": sigmoid,
    "Sin": sine,
    "Sqrt": square_root,
    "Sub": subtract,
    "Sum": add,
    "Tanh": tanh,
    "Where": where,
}
"""Operator → its rule."""

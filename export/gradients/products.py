"""Gradients of matrix products; those of convolutions and poolings as one node, which `placeholders` writes out."""

from __future__ import annotations

import numpy as np

from reverie.export.gradients.backward import MICROSOFT, Backward, GradientRule, Values
from reverie.export.lowering.lowering import CannotLowerError


def matmul(site: Backward) -> Values:
    """dY·Bᵀ and Aᵀ·dY; where one matrix serves a whole batch, its gradient is one product over all rows."""
    a, b, gradient = site.input(0), site.input(1), site.gradient
    ranks = site.rank(a), site.rank(b)
    if min(ranks) < 2:
        raise CannotLowerError("a factor is a vector")
    batch, of_b = site.shape(site.output)[:-2], site.shape(b)
    left = ""
    if site.wants(0):
        left = site.summed(site.fused(gradient, b, transB=1), a, (*batch, *site.shape(a)[-2:]))
    if not site.wants(1):
        return (left,)
    if ranks[1] == 2 < ranks[0] and None not in of_b:
        a, gradient = (
            site.emit("Reshape", x, np.array([-1, side])) for x, side in zip((a, gradient), of_b, strict=True)
        )
        return left, site.fused(a, gradient, transA=1)
    return left, site.summed(site.fused(a, gradient, transA=1), b, (*batch, *of_b[-2:]))


def gemm(site: Backward) -> Values:
    """As of MatMul, for factors that are taken as they are or transposed; of the bias, dY added up."""
    a, b, gradient = site.input(0), site.input(1), site.gradient
    turned = site.attribute("transA", 0), site.attribute("transB", 0)
    alpha, beta = site.attribute("alpha", 1.0), site.attribute("beta", 1.0)
    left = right = bias = ""
    if site.wants(0):
        factors, how = ((b, gradient), (turned[1], 1)) if turned[0] else ((gradient, b), (0, 1 - turned[1]))
        left = site.emit("Gemm", *factors, transA=how[0], transB=how[1], alpha=alpha)
    if site.wants(1):
        factors, how = ((gradient, a), (1, turned[0])) if turned[1] else ((a, gradient), (1 - turned[0], 0))
        right = site.emit("Gemm", *factors, transA=how[0], transB=how[1], alpha=alpha)
    if site.wants(2):
        bias = site.summed(gradient, site.input(2))
        bias = bias if beta == 1 else site.emit("Mul", bias, beta)
    return left, right, bias


def conv(site: Backward) -> Values:
    """One ConvGrad: dY, X, W → dX, dW, dB."""
    attributes = {a.name: site.attribute(a.name) for a in site.node.attribute}
    wanted = [site.wants(i) for i in range(3)]
    inputs = site.gradient, site.input(0), site.input(1)
    return site.emit_several("ConvGrad", wanted, *inputs, domain=MICROSOFT, **attributes)


def max_pool(site: Backward) -> Values:
    """One MaxPoolGrad: dY and where each largest value stood → dX."""
    if len(site.node.output) == 1:
        site.node.output.append(f"{site.output}.index")
    attributes = {a.name: site.attribute(a.name) for a in site.node.attribute}
    return (site.emit("MaxPoolGrad", site.gradient, site.node.output[1], **attributes),)


PRODUCTS: dict[str, GradientRule] = {"Conv": conv, "Gemm": gemm, "MatMul": matmul, "MaxPool": max_pool}
"""Operator → its rule."""

"""ConvGrad and MaxPoolGrad, as `reverse` leaves them, in operators of the ordinary engine.

The blocked layout has forms of its own for most of them; what it leaves is written out here, with images in the plain
layout.
"""

from __future__ import annotations

import numpy as np
import onnx

from reverie.device_runtime.errors import ExportError
from reverie.export.gradients.convolution import Convolution, convolution
from reverie.export.gradients.kernel_gradients import KernelGradient
from reverie.export.lowering.lowering import Rule, Site, lower


def write_out(model: onnx.ModelProto) -> None:
    """Rewrite what `reverse` left in `model`, in place. Raises ExportError."""
    kept = lower(model, RULES, "plain")
    if kept:
        raise ExportError(f"no gradient of a convolution or pooling: {next(iter(kept.values()))}")


def conv_grad(site: Site) -> tuple[str, ...]:
    """ConvTranspose for the input; products of matrices for the weights; a sum for the bias."""
    gradient, x, weight = (site.input(i) for i in range(3))
    wanted = [*(bool(output) for output in site.node.output), False, False][:3]
    c = convolution(site, x, weight)
    kernel = KernelGradient(site, gradient, x, c)
    return (
        _input_gradient(site, gradient, weight, c) if wanted[0] else "",
        kernel.weights() if wanted[1] else "",
        kernel.bias() if wanted[2] else "",
    )


def _input_gradient(site: Site, gradient: str, weight: str, c: Convolution) -> str:
    """The transposed convolution; where inputs at the end met no weight, it has zeros there."""
    missed = [
        side - reach + before + after
        for side, reach, before, after in zip(c.sides, c.reach, c.before, c.after, strict=True)
    ]
    return site.emit(
        "ConvTranspose",
        gradient,
        weight,
        kernel_shape=c.kernel,
        strides=c.strides,
        dilations=c.dilations,
        pads=[*c.before, *c.after],
        output_padding=missed,
        group=c.group,
    )


def max_pool_grad(site: Site) -> tuple[str, ...]:
    """MaxUnpool; where windows overlap, ScatterElements, which adds up what several of them give to one value."""
    gradient, index = site.input(0), site.input(1)
    pooling = Site(site.known.producers[index], site.known)
    kernel, shape = pooling.attribute("kernel_shape"), site.emit("Shape", pooling.input(0))
    rank = len(kernel)
    strides, dilations = pooling.attribute("strides", [1] * rank), pooling.attribute("dilations", [1] * rank)
    apart = all(d * (k - 1) < s for k, s, d in zip(kernel, strides, dilations, strict=True))
    usual = pooling.attribute("auto_pad", "NOTSET") == "NOTSET" and not pooling.attribute("ceil_mode", 0)
    if apart and usual:
        pads = pooling.attribute("pads", [0] * 2 * rank)
        # Of a window of NaN there is no largest: its place may be one before the first, which must not end the run.
        index = site.emit("Abs", index)
        return (site.emit("MaxUnpool", gradient, index, shape, kernel_shape=kernel, strides=strides, pads=pads),)
    flat = np.array([-1])
    size = site.emit("Reshape", site.emit("Size", pooling.input(0)), flat)
    zeros = site.emit("ConstantOfShape", size)
    index, gradient = (site.emit("Reshape", value, flat) for value in (index, gradient))
    total = site.emit("ScatterElements", zeros, index, gradient, axis=0, reduction="add")
    return (site.emit("Reshape", total, shape),)


RULES: dict[str, Rule] = {"ConvGrad": conv_grad, "MaxPoolGrad": max_pool_grad}
"""Operator → its rule."""

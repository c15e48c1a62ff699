"""Operators that slide a window over an image, in torch; see `functions`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reverie.export.from_onnx.values import Call, Function

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOLS: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _padding(call: Call, x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Amounts before each axis and then after each, as the attribute `pads` has them."""
    rule, rank = call.get("auto_pad", "NOTSET"), len(kernel)
    if rule == "NOTSET":
        return list(call.get("pads", [0] * 2 * rank))
    if rule == "VALID":
        return [0] * 2 * rank
    before, after = [], []
    for side, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        outputs = -(-int(side) // stride)
        whole = max(0, (outputs - 1) * stride + dilation * (k - 1) + 1 - int(side))
        small, large = whole // 2, whole - whole // 2
        before.append(small if rule == "SAME_UPPER" else large)
        after.append(large if rule == "SAME_UPPER" else small)
    return before + after


def _padded(x: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    rank = len(pads) // 2
    return F.pad(x, [amount for at in reversed(range(rank)) for amount in (pads[at], pads[rank + at])], value=value)


def _window(call: Call, kernel: list[int]) -> tuple[list[int], list[int]]:
    """Strides and dilations."""
    return list(call.get("strides", [1] * len(kernel))), list(call.get("dilations", [1] * len(kernel)))


def _conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    kernel = list(weight.shape[2:])
    strides, dilations = _window(call, kernel)
    pads, rank = _padding(call, x, kernel, strides, dilations), len(kernel)
    if pads[:rank] != pads[rank:]:
        x, pads = _padded(x, pads), [0] * 2 * rank
    convolve = CONVOLUTIONS[rank]
    return convolve(x, weight, bias, strides, pads[:rank], dilations, call.get("group", 1))


def _conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """With uneven padding, what is too much is cut away at the end."""
    kernel = list(weight.shape[2:])
    rank = len(kernel)
    strides, dilations = _window(call, kernel)
    extra, pads = list(call.get("output_padding", [0] * rank)), list(call.get("pads", [0] * 2 * rank))
    if call.get("output_shape") or call.get("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        raise ValueError("it must give its padding")
    if pads[:rank] == pads[rank:]:
        return TRANSPOSED[rank](x, weight, bias, strides, pads[:rank], extra, call.get("group", 1), dilations)
    whole = TRANSPOSED[rank](x, weight, bias, strides, 0, extra, call.get("group", 1), dilations)
    return _padded(whole, [-amount for amount in pads])


def _max_pool(call: Call, x: Tensor) -> Tensor:
    kernel, ceil = list(call.get("kernel_shape")), bool(call.get("ceil_mode", 0))
    strides, dilations = _window(call, kernel)
    pads, rank = _padding(call, x, kernel, strides, dilations), len(kernel)
    if call.outputs > 1:
        raise ValueError("its second output, the places, is not covered")
    if pads[:rank] != pads[rank:] or any(2 * pad > k for pad, k in zip(pads, kernel, strict=False)):
        x, pads = _padded(x, pads, -torch.inf), [0] * 2 * rank
    return MAX_POOLS[rank](x, kernel, strides, pads[:rank], dilations, ceil_mode=ceil)


def _average_pool(call: Call, x: Tensor) -> Tensor:
    kernel, ceil = list(call.get("kernel_shape")), bool(call.get("ceil_mode", 0))
    counts = bool(call.get("count_include_pad", 0))
    strides, dilations = _window(call, kernel)
    pads, rank = _padding(call, x, kernel, strides, dilations), len(kernel)
    if any(dilation != 1 for dilation in dilations):
        raise ValueError("dilations are not covered")
    pool = AVERAGE_POOLS[rank]
    if pads[:rank] == pads[rank:] and all(2 * pad <= k for pad, k in zip(pads, kernel, strict=False)):
        averaged: Tensor = pool(x, kernel, strides, pads[:rank], ceil, counts)
        return averaged
    averaged = pool(_padded(x, pads), kernel, strides, 0, ceil)
    if not counts:
        averaged = averaged / pool(_padded(torch.ones_like(x[:1, :1]), pads), kernel, strides, 0, ceil)
    return averaged


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


WINDOW_FUNCTIONS: dict[str, Function] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": lambda _, x: x.mean(_spatial(x), keepdim=True),
    "GlobalMaxPool": lambda _, x: x.amax(_spatial(x), keepdim=True),
    "MaxPool": _max_pool,
}

"""The layout of values that the engine's fast kernels take, and how a graph changes to it and back.

In the blocked layout the channels (C) of an image tensor (N, C, H, W) lie in blocks of B, innermost: in memory it is
(N, C/B, H, W, B), with zeros after the last channel, while its nominal shape stays (N, C, H, W). B is the number of
floats in the processor's vector registers. The engine itself chooses these kernels where weights never change; the
rules write them out, so that they also serve weights that are trained. Values change their layout around each of them;
`blocked` takes away what cancels.
"""

from __future__ import annotations

import numpy as np

from reverie.export.lowering.lowering import Site

DOMAIN = "com.microsoft.nchwc"


def whole_blocks(channels: int, block: int) -> int:
    """`channels` rounded up to whole blocks."""
    return -(-channels // block) * block


def reordered(site: Site, x: str) -> str:
    """`x` (N, C, H, W), C a multiple of 4, in the blocked layout."""
    return site.emit("ReorderInput", x, domain=DOMAIN)


def plain(site: Site, x: str, channels: int) -> str:
    """Blocked `x` in the plain layout."""
    return site.emit("ReorderOutput", x, domain=DOMAIN, channels=channels)


def weave(
    site: Site, block: int, woven: list[list[str]], channels: int, sizes: tuple[int, ...], sides: tuple[int, ...]
) -> str:
    """Blocked tensors of `sizes`, as rows and columns, interleaved and cut or filled up to `sides`."""
    high, wide = sizes
    down, across = len(woven), len(woven[0])
    if down == across == 1:
        return woven[0][0]
    lines = []
    for row in woven:
        columns = [site.emit("Reshape", x, np.array([-1, wide, 1, block])) for x in row]
        line = site.emit("Concat", *columns, axis=2) if across > 1 else columns[0]
        lines.append(site.emit("Reshape", line, np.array([-1, high, 1, wide * across * block])))
    whole = site.emit("Concat", *lines, axis=2) if down > 1 else lines[0]
    whole = site.emit("Reshape", whole, np.array([-1, high * down, wide * across * block]))
    ends = np.array([sides[0], sides[1] * block])
    missing = ends - [high * down, wide * across * block]
    if (missing < 0).any():
        whole = site.emit("Slice", whole, np.array([0, 0]), ends, np.array([1, 2]))
    elif missing.any():
        whole = site.emit("Pad", whole, np.array([0, 0, 0, 0, *missing]))
    return site.emit("Reshape", whole, np.array([-1, whole_blocks(channels, block), *sides]))

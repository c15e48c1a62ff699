"""A user's model cut in two: a frozen front that turns images into features, and the rest, which trains on them.

What stands between the two are features with mean 0 and, over all channels, variance 1 on the historical images: the
front ends by centring and scaling them, the rest begins by undoing it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from reverie.device_runtime.bundle.manifest import Backbone
from reverie.device_runtime.errors import ExportError, first_line
from reverie.export.from_onnx.solver import OnnxSolver, node_path
from reverie.export.graphs.quiet import quiet_stderr
from reverie.export.solvers.factories import run_once

SIZE = torch.ops.aten.sym_size.int


@dataclass(frozen=True)
class Front:
    """What stands before the solver of a model that was cut: images (N, *image_shape) → features (N, *S)."""

    module: nn.Module
    whole: nn.Module
    """The model that was cut, in the user's own modules."""
    image_shape: tuple[int, ...]
    feature_shape: tuple[int, ...]
    described: Backbone

    @property
    def feature_count(self) -> int:
        """Features of one image, of whatever shape."""
        return math.prod(self.feature_shape)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Features of images, both float32."""
        with torch.no_grad():
            features: Tensor = self.module(torch.from_numpy(images))
        return features.numpy()


def cut_solver(whole: nn.Module, described: Backbone, image_shape: tuple[int, ...]) -> tuple[Front, nn.Module]:
    """The frozen front of `whole`, and the rest, with features between them as `described` says. Raises ExportError."""
    images = torch.zeros(2, *image_shape)
    run_once("solver", whole, images)
    module, rest = cut(whole, described.until, images)
    features = run_once("backbone", module, images)
    if features.dim() < 2 or len(features) != len(images):
        raise ExportError(
            f"two images make features of shape {tuple(features.shape)} before {described.until!r}, and not one row "
            "for each image: cut before another module"
        )
    if described.mean:
        module = Standardised(module, described, features.dim())
        _undo_standardising(rest, described, features.dim())
    module.requires_grad_(requires_grad=False)
    return Front(module, whole, image_shape, tuple(features.shape[1:]), described), rest


def front_for_statistics(whole: nn.Module, described: Backbone, image_shape: tuple[int, ...]) -> Front:
    """The frozen front of `whole` for a head that is solved: features of a power, one row an image. Raises ExportError.

    What is behind the cut has another input then, and goes.
    """
    plain, _ = cut_solver(whole, Backbone(described.until), image_shape)
    rows = Powered(plain.module, described.power)
    module = Standardised(rows, described, axes=2).requires_grad_(requires_grad=False)
    return Front(module, whole, image_shape, (len(described.mean),), described)


def feature_statistics(until: str, features: np.ndarray, power: float = 1.0) -> Backbone:
    """Mean and variance of each channel of `features` (N, C, ...), which are of `power`.

    Raises ExportError where one is no number.
    """
    if not np.isfinite(features).all():
        raise ExportError(f"the features before {until!r} are not all numbers: are the weights those of this solver?")
    over = (0, *range(2, features.ndim))
    measured = features.mean(axis=over, dtype=np.float64), features.var(axis=over, dtype=np.float64)
    mean, variance = (tuple(float(f"{n:.6g}") for n in values) for values in measured)
    return Backbone(until, mean, variance, power)


def powered(features: np.ndarray, power: float) -> np.ndarray:
    """sign(f)·|f|^power of features, as `Backbone` says."""
    return features if power == 1 else np.sign(features) * np.abs(features) ** np.float32(power)


class Powered(nn.Module):
    """A front whose features are one row for each image, each of them sign(f)·|f|^power."""

    def __init__(self, front: nn.Module, power: float) -> None:
        super().__init__()
        self.front = front
        self.power = power

    def forward(self, images: Tensor) -> Tensor:
        """Images → features (N, D)."""
        features: Tensor = self.front(images).flatten(1)
        return features if self.power == 1 else torch.sign(features) * torch.abs(features) ** self.power


class Standardised(nn.Module):
    """A front whose features are centred by channel and scaled by one number."""

    mean: Tensor

    def __init__(self, front: nn.Module, described: Backbone, axes: int) -> None:
        super().__init__()
        self.front = front
        self.scale = described.scale
        self.register_buffer("mean", _by_channel(described.mean, axes))

    def forward(self, images: Tensor) -> Tensor:
        """Images → standardised features."""
        return (self.front(images) - self.mean) / self.scale  # type: ignore[no-any-return]


def _by_channel(values: tuple[float, ...], axes: int) -> Tensor:
    return torch.tensor(values).reshape(1, -1, *[1] * (axes - 2))


def _undo_standardising(rest: nn.Module, described: Backbone, axes: int) -> None:
    """Let `rest`, whose parameters keep their names, begin with features · scale + mean."""
    if not isinstance(rest, fx.GraphModule):
        raise TypeError("only a traced rest can be changed")
    rest.register_buffer("feature_mean", _by_channel(described.mean, axes))
    (start,) = (node for node in rest.graph.nodes if node.op == "placeholder")
    with rest.graph.inserting_after(start):
        mean = rest.graph.get_attr("feature_mean")
    with rest.graph.inserting_after(mean):
        scaled = rest.graph.call_function(torch.ops.aten.mul.Tensor, (start, described.scale))
    with rest.graph.inserting_after(scaled):
        features = rest.graph.call_function(torch.ops.aten.add.Tensor, (scaled, mean))
    start.replace_all_uses_with(features, delete_user_cb=lambda user: user is not scaled)
    rest.recompile()


def cut(solver: nn.Module, path: str, example: Tensor) -> tuple[nn.Module, nn.Module]:
    """(front, rest) of `solver`, with rest(front(images)) = solver(images).

    The front ends with what enters the module at `path`, or of a file the node of that name; `rest` has its parameters
    under their names in `solver`.
    `example` (N, C, H, W) has at least two images. Raises ExportError where there is no such module, or where
    more than one value passes from before the cut to behind it.
    """
    paths = [name for name, _ in solver.named_modules() if name]
    if isinstance(solver, OnnxSolver) and path not in paths:
        path = node_path(path)
    if path not in paths:
        near = difflib.get_close_matches(path, paths, n=5, cutoff=0.3) or paths[-5:]
        raise ExportError(f"the solver has no module {path!r} to cut before; nearest: {', '.join(near)}")
    traced = _traced(solver, example)
    inside = [node for node in traced.graph.nodes if path in _modules(node)]
    if not inside:
        raise ExportError(f"forward does not call the module {path!r}: cut before another one")
    (image,) = (node for node in traced.graph.nodes if node.op == "placeholder")
    depending = _depending_on(image, traced.graph.nodes)
    entering = {
        source for node in inside for source in node.all_input_nodes if source in depending and source not in inside
    }
    entering -= {node for node in entering if node.target is SIZE}
    if len(entering) != 1:
        raise ExportError(
            f"{len(entering)} values enter {path!r}, a backbone makes one: cut before a module that takes one value"
        )
    (features,) = entering
    (output,) = (node for node in traced.graph.nodes if node.op == "output")
    (result,) = output.all_input_nodes
    front = _part(traced, image, features, image)
    rest = _part(traced, features, result, image)
    return front, rest


def _traced(solver: nn.Module, example: Tensor) -> fx.GraphModule:
    """The operators that `solver` calls on a batch of any size, with its parameters under their names."""
    batch = torch.export.Dim("batch", min=1)
    try:
        with quiet_stderr():
            program = torch.export.export(solver.eval(), (example,), dynamic_shapes=({0: batch},))
            traced = program.module()
    except Exception as error:
        raise ExportError(
            f"torch cannot trace {type(solver).__name__} ({first_line(error)}): "
            "its forward must not depend on the values in its input and must accept any batch size"
        ) from error
    if not isinstance(traced, fx.GraphModule):
        raise ExportError(f"torch traced {type(solver).__name__} to something that cannot be cut")
    return traced


def _modules(node: fx.Node) -> set[str]:
    """Paths of the modules that a node was called in."""
    return {path for path, _ in (node.meta.get("nn_module_stack") or {}).values()}


def _depending_on(source: fx.Node, nodes: Iterable[fx.Node]) -> set[fx.Node]:
    reached = {source}
    for node in nodes:
        if reached.intersection(node.all_input_nodes):
            reached.add(node)
    return reached


def _part(traced: fx.GraphModule, start: fx.Node, end: fx.Node, image: fx.Node) -> fx.GraphModule:
    """The part of `traced` that computes `end` from `start`. The number of images may come from either."""
    graph = fx.Graph()
    copies = {start: graph.placeholder("input")}
    needed = _needed(end, start, image)
    for node in traced.graph.nodes:
        if node not in needed or node in copies:
            continue
        if _is_batch_size(node, image):
            copies[node] = graph.call_function(SIZE, (copies[start], 0))
        elif node.op == "placeholder":
            raise ExportError(
                "the cut does not separate the model: what comes behind it uses more of what comes before than the "
                "one value that enters it; cut at another module"
            )
        else:
            copies[node] = graph.node_copy(node, lambda source: copies[source])
    graph.output(copies[end])
    graph.lint()
    return Part(traced, graph)


class Part(fx.GraphModule):
    """A traced part that runs node by node, so that what is traced again still knows the user's module of each."""

    def recompile(self) -> Any:
        """As of any graph, with another forward on the class that fx makes for this one module."""
        code = super().recompile()
        type(self).forward = lambda self, input: fx.Interpreter(self).run(input)  # noqa: A006 (fx names it so)
        return code


def _is_batch_size(node: fx.Node, image: fx.Node) -> bool:
    return node.target is SIZE and node.args == (image, 0)


def _needed(end: fx.Node, start: fx.Node, image: fx.Node) -> set[fx.Node]:
    """What `end` is computed from, as far as `start`."""
    needed: set[fx.Node] = set()
    waiting = [end]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += [] if node is start or _is_batch_size(node, image) else node.all_input_nodes
    return needed

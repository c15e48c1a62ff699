"""torch module → ONNX graph, with torch's current exporter, in the form that the device's engine reads."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx
import torch
from onnxscript import optimizer, rewriter
from torch import Tensor, fx, nn

from reverie.device_runtime.errors import ExportError, first_line
from reverie.export.graphs.quiet import quiet_stderr

OPSET = 18
IR_VERSION = 10
"""onnxruntime 1.19.2 reads nothing newer."""


def to_onnx(
    module: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str], unbatched: Sequence[str] = ()
) -> onnx.ModelProto:
    """Export `module.forward(**example)`; inputs keep their names and have a free first axis unless `unbatched`.

    Parameters become initializers under their torch names. Nodes keep their place in the module as metadata (see
    `operators.place`); `strip_metadata` removes it before the graph is written. Raises ExportError.
    """
    batch = torch.export.Dim("batch", min=1)
    shapes = {name: None if name in unbatched else {0: batch} for name in example}
    module.eval()
    try:
        # What was traced before, behind a cut, keeps the places that its nodes know.
        with warnings.catch_warnings(), quiet_stderr(), fx.traceback.preserve_node_meta(), without_collecting():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                kwargs=dict(example),
                dynamo=True,
                opset_version=OPSET,
                optimize=False,
                verbose=False,
                input_names=list(example),
                output_names=list(outputs),
                dynamic_shapes=shapes,
            )
    except Exception as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__  # type: ignore[assignment]
        raise ExportError(
            f"torch cannot export {type(module).__name__} ({first_line(cause)}): "
            "its forward must not depend on the values in its input and must accept any batch size"
        ) from error
    if program is None:
        raise ExportError(f"torch exported nothing for {type(module).__name__}")
    model: onnx.ModelProto = program.model_proto
    model.ir_version = IR_VERSION
    return model


@contextmanager
def without_collecting() -> Iterator[None]:
    """Of the many objects of a trace few are garbage, and to look for it takes a fifth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with its constants computed and every BatchNormalization folded into the convolution before it."""
    with quiet_stderr():
        smaller: onnx.ModelProto = rewriter.rewrite(optimizer.optimize(model))
    smaller.ir_version = IR_VERSION
    return smaller


def strip_metadata(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about source files: it differs from machine to machine and names paths."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def weights_to_inputs(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Turn the initializers `names` into graph inputs, fed at each run."""
    moved = [t for t in model.graph.initializer if t.name in names]
    for tensor in moved:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
        model.graph.initializer.remove(tensor)


def weights_to_injected(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Declare the initializers `names` as external data that the device injects from memory.

    The session then sees them as constants and optimises with them. No file is ever read: loading from bytes
    refuses external files, and an injected tensor does not need one.
    """
    for tensor in model.graph.initializer:
        if tensor.name in names:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", "injected-from-memory"

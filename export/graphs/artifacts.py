"""ONNX graph → what the device runs: training artifacts, input-gradient graphs and weight places."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import onnx

from reverie.device_runtime.bundle.manifest import TRAINING_GRAPH, TensorRecord
from reverie.device_runtime.errors import ExportError
from reverie.export.gradients.reverse import add_gradients
from reverie.export.graphs.onnx_export import strip_metadata, weights_to_inputs
from reverie.export.rewriting import rewriting


def prepare(model: onnx.ModelProto, trainable: Sequence[str]) -> None:
    """Leave nothing but the initializers `trainable` to be trained, in operators whose gradients are fast."""
    graph_constants_inline(model, trainable)
    rewriting.prepare(model)


def write_training(model: onnx.ModelProto, trainable: Sequence[str], folder: Path) -> None:
    """Write what `prepare` made as the training graph of `folder`, in all its forms, see `rewriting`.

    It takes the parameters as inputs and gives their gradients as outputs. The first output of `model` is the loss; its
    initializers `trainable` are trained, the others stay constant.
    """
    folder.mkdir(parents=True)
    weights_to_inputs(model, trainable)
    give_gradients(model, trainable)
    for name, form in rewriting.forms(model, TRAINING_GRAPH).items():
        strip_metadata(form)
        (folder / name).write_bytes(form.SerializeToString(deterministic=True))


def graph_constants_inline(model: onnx.ModelProto, keep: Sequence[str]) -> None:
    """Turn initializers that are not trained into Constant nodes, so that nothing trains them."""
    for tensor in [t for t in model.graph.initializer if t.name not in keep]:
        node = onnx.helper.make_node("Constant", [], [tensor.name], name=f"constant.{tensor.name}", value=tensor)
        node.attribute[0].t.name = ""
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, node)


def input_gradient(model: onnx.ModelProto, wanted: str) -> onnx.ModelProto:
    """`model` with one more output, `<wanted>_grad`: the gradient of its first output for the input `wanted`."""
    rewriting.prepare(model)
    give_gradients(model, [wanted])
    return model


def give_gradients(model: onnx.ModelProto, wanted: Collection[str]) -> None:
    """Let `model` give the gradients of its first output for the inputs `wanted`, each under the name it has there."""
    inputs = {value.name: value for value in model.graph.input}
    for name, gradient in add_gradients(model, wanted).items():
        output = model.graph.output.add()
        output.CopyFrom(inputs[name])
        output.name = gradient


def tensor_places(model: bytes, names: Sequence[str]) -> dict[str, TensorRecord]:
    """Where the raw bytes of the float32 initializers `names` lie in a serialised ONNX model.

    Walks the protobuf wire format: ModelProto.graph is field 7, GraphProto.initializer 5, TensorProto.dims 1,
    .name 8 and .raw_data 9.
    """
    records = {}
    for graph_start, graph_end in _fields(model, 0, len(model), 7):
        for start, end in _fields(model, graph_start, graph_end, 5):
            tensor = onnx.TensorProto.FromString(model[start:end])
            if tensor.name in names:
                if tensor.data_type != onnx.TensorProto.FLOAT or not tensor.raw_data:
                    raise ExportError(f"parameter {tensor.name} is not stored as plain float32: convert the model")
                (raw_start, _), *_rest = _fields(model, start, end, 9)
                records[tensor.name] = TensorRecord(raw_start, tuple(tensor.dims))
    missing = sorted(set(names) - set(records))
    if missing:
        raise ExportError(f"parameters {', '.join(missing)} vanished in the export: are they used in forward?")
    return records


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(data: bytes, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of the length-delimited fields numbered `wanted` in the message at data[start:end]."""
    at = start
    while at < end:
        key, at = _varint(data, at)
        field, wire_type = key >> 3, key & 7
        if wire_type == 0:
            _, at = _varint(data, at)
        elif wire_type == 1:
            at += 8
        elif wire_type == 5:
            at += 4
        else:
            size, at = _varint(data, at)
            if field == wanted:
                yield at, at + size
            at += size

"""Is an ONNX file what our exporter can have written? Asked before any session sees it, without the onnx package.

The file is walked in the protobuf wire format, by the field numbers of onnx.proto3. No tensor may be read from another
file, wherever in the model it stands; the one exception are initializers that the device gives from memory. Functions,
subgraphs of operators that are not allowed, unknown operators, operator sets and versions are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from reverie.device_runtime.bundle.onnx_operators import OPERATORS, OPSETS
from reverie.device_runtime.errors import BundleError

MAX_BYTES = 192 << 20
"""Of one file of a bundle: an edge box of 1 GB cannot train anything larger."""
MAX_FIELDS = 1_000_000
MAX_DEPTH = 24
"""Messages within messages; a subgraph takes three."""
INITIALIZER = 2
"""Depth of a tensor in the graph of the model itself; those of nodes, sparse tensors and subgraphs are deeper."""
IR_VERSIONS = range(3, 11)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_PARTS = {
    "model": {7: "graph", 8: "opset"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
"""Message → its fields that are walked, and the messages that these hold."""

_VALUES = {
    "model": {1: "ir_version", 20: "training_info", 25: "functions"},
    "opset": {1: "domain", 2: "version"},
    "node": {4: "op_type", 7: "domain"},
    "tensor": {8: "name", 9: "raw_data", 13: "external_data", 14: "data_location"},
}
"""Message → its fields that are looked at."""

_NUMBERS = frozenset(("ir_version", "version", "data_location"))

Span = tuple[int, int]


@dataclass
class _Walk:
    """State of one walk: the file, what may be injected, and where raw data of the graph's initializers lies."""

    data: bytes
    injected: Collection[str]
    operators: Mapping[str, frozenset[str]]
    places: dict[str, Span] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    fields: int = 0


def check_model(
    model: bytes,
    where: object = "a graph",
    injected: Collection[str] = (),
    operators: Mapping[str, frozenset[str]] = OPERATORS,
) -> dict[str, Span]:
    """Raise BundleError unless `model` may go into a session; `injected` names initializers that come from memory.

    `operators` are those that the engine at hand runs, see `Engine.operators`.

    Returns the name of each initializer of the graph whose data lies in the file as raw bytes, with first and last + 1.
    """
    if len(model) > MAX_BYTES:
        raise BundleError(f"{where} has {len(model)} bytes, more than the {MAX_BYTES >> 20} MB that a model may have")
    walk = _Walk(model, injected, operators)
    try:
        _check(walk, "model", 0, len(model), depth=0)
    except ValueError as error:
        raise BundleError(f"{where} is refused: {error}; export the bundle again") from None
    return walk.places


def _check(walk: _Walk, kind: str, start: int, end: int, depth: int) -> None:
    """Check one message and all within it. Raises ValueError."""
    if depth > MAX_DEPTH:
        raise ValueError("its messages are nested too deeply")
    parts, wanted = _PARTS.get(kind, {}), _VALUES.get(kind, {})
    values: dict[str, Span] = {}
    for number, wire, at, stop in _fields(walk, start, end):
        if number in parts:
            _require_wire(wire, _BYTES)
            walk.seen.add(parts[number])
            _check(walk, parts[number], at, stop, depth + 1)
        elif number in wanted:
            name = wanted[number]
            _require_wire(wire, _VARINT if name in _NUMBERS else _BYTES)
            if name in values and name != "external_data":
                raise ValueError(f"a {kind} states its {name} twice")
            values[name] = (at, stop)
    if kind == "tensor":
        _check_tensor(walk, values, depth == INITIALIZER)
    else:
        _check_values(walk, kind, values)


def _check_values(walk: _Walk, kind: str, values: dict[str, Span]) -> None:
    if kind == "model":
        if "training_info" in values or "functions" in values:
            raise ValueError("it holds functions or training information of its own")
        if not {"graph", "opset"} <= walk.seen:
            raise ValueError("it is no ONNX model")
        version = values.get("ir_version", (0, 0))[0]
        if version not in IR_VERSIONS:
            raise ValueError(f"its IR version {version} is not one of {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}")
    elif kind == "opset":
        domain, version = _text(walk, values, "domain"), values.get("version", (0, 0))[0]
        if version not in OPSETS.get(domain, ()):
            raise ValueError(f"version {version} of the operator set {domain or 'ai.onnx'!r} is unknown")
    elif kind == "node":
        operator, domain = _text(walk, values, "op_type"), _text(walk, values, "domain")
        name = f"{domain}.{operator}" if domain else operator
        if operator not in walk.operators.get(domain, ()) and operator in OPERATORS.get(domain, ()):
            raise ValueError(f"its operator {name!r} runs in onnxruntime-training-cpu alone, which is not installed")
        if operator not in OPERATORS.get(domain, ()):
            raise ValueError(f"the operator {name!r} is not among those that may run")


def _check_tensor(walk: _Walk, values: dict[str, Span], initializer: bool) -> None:
    """No data of a tensor may lie elsewhere, but of an initializer of the graph itself that is injected."""
    name = _text(walk, values, "name")
    outside = "external_data" in values or values.get("data_location", (0, 0))[0] != 0
    if outside and not (initializer and name in walk.injected):
        raise ValueError(f"the tensor {name!r} has its data in another file")
    if initializer and not outside:
        if name in walk.places:
            raise ValueError(f"two initializers are named {name!r}")
        walk.places[name] = values.get("raw_data", (0, 0))


def _fields(walk: _Walk, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type and content of each field of a message: first and last + 1, or for a varint its value twice."""
    data, at = walk.data, start
    while at < end:
        walk.fields += 1
        if walk.fields > MAX_FIELDS:
            raise ValueError(f"it has more than {MAX_FIELDS:,} fields")
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if number == 0 or key >> 32:  # protobuf drops the higher bits and would read another field
            raise ValueError("it is no ONNX model")
        if wire == _VARINT:
            value, at = _varint(data, at, end)
            yield number, wire, value, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at, end)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("it is no ONNX model")
        if size > end - at:
            raise ValueError("it ends too early")
        yield number, wire, at, at + size
        at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is no ONNX model")


def _require_wire(wire: int, expected: int) -> None:
    if wire != expected:
        raise ValueError("it is no ONNX model")


def _text(walk: _Walk, values: dict[str, Span], name: str) -> str:
    """A short text, cut where it would not fit into a message."""
    start, end = values.get(name, (0, 0))
    if end - start > 1024:
        raise ValueError(f"a {name} is too long")
    return walk.data[start:end].decode("utf-8", errors="replace")

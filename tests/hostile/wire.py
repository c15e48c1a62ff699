"""ONNX models in the protobuf wire format, written by hand, so that they can be wrong in any way."""

from __future__ import annotations

EXTERNAL = 1


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    """A field that holds an int as varint, or text or bytes with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name="w", *extra):
    """A float32 tensor of one number, and more fields."""
    return field(1, 1) + field(2, 1) + field(8, name) + field(9, b"\0\0\x80?") + b"".join(extra)


def outside(location, name="w"):
    """A tensor whose data lies in another file."""
    entry = field(1, "location") + field(2, str(location))
    return field(1, 1) + field(2, 1) + field(8, name) + field(13, entry) + field(14, EXTERNAL)


def node(operator="Identity", *extra):
    return field(1, "x") + field(2, "y") + field(4, operator) + b"".join(extra)


def attribute(number, content):
    """Of a node: 5 tensor, 6 graph, 10 tensors, 11 graphs, 22 sparse tensor, 23 sparse tensors."""
    return field(5, field(1, "a") + field(number, content))


def graph(*parts):
    """A graph of one node, and more fields: 1 node, 5 initializer, 15 sparse initializer."""
    return field(1, node()) + field(2, "g") + b"".join(parts)


def initializer(content):
    return field(5, content)


def model(content, *extra, ir=10, opset=18):
    return field(1, ir) + field(8, field(2, opset)) + field(7, content) + b"".join(extra)


def of(*parts, **how):
    """A model whose graph has more fields."""
    return model(graph(*parts), **how)


def with_node(operator, *extra):
    return of(field(1, node(operator, *extra)))


def nested(depth):
    """Graphs within graphs."""
    inner = graph()
    for _ in range(depth):
        inner = field(1, node("If", attribute(6, inner)))
    return model(inner)


def value(name):
    """A float32 input or output of any shape."""
    return field(1, name) + field(2, field(1, field(1, 1)))

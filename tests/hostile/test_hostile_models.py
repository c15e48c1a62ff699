"""Models that must never reach a session, in bundles whose hashes are all right."""

from __future__ import annotations

import os

import pytest
import wire
from wire import attribute, field, graph, initializer, nested, node, of, outside, tensor, with_node

ELSEWHERE = "has its data in another file"
NO_MODEL = "is no ONNX model"
NOT_ALLOWED = "is not among those that may run"

EXTERNAL = {
    "beside it": of(initializer(outside("weights.bin"))),
    "in the folder above": of(initializer(outside("../../secret"))),
    "by an absolute path": of(initializer(outside("/etc/passwd"))),
    "by a link": of(initializer(outside("symbolic.bin"))),
    "by a hard link": of(initializer(outside("hard.bin"))),
    "in a node": with_node("Constant", attribute(5, outside("a"))),
    "in one of a node's tensors": with_node("Constant", attribute(10, tensor()) + attribute(10, outside("a"))),
    "in a subgraph": with_node("Identity", attribute(6, graph(initializer(outside("a"))))),
    "in one of a node's subgraphs": with_node("Identity", attribute(11, graph(initializer(outside("a"))))),
    "in a node of a subgraph": with_node(
        "Identity", attribute(6, graph(field(1, node("Constant", attribute(5, outside("a"))))))
    ),
    "in the values of a sparse initializer": of(field(15, field(1, outside("a")))),
    "in the places of a sparse initializer": of(field(15, field(1, tensor()) + field(2, outside("a")))),
    "in a sparse tensor of a node": with_node("Constant", attribute(22, field(1, outside("a")))),
    "in one of a node's sparse tensors": with_node("Constant", attribute(23, field(2, outside("a")))),
    "without saying so": of(initializer(tensor("w", field(13, field(1, "location") + field(2, "a"))))),
    "without saying where": of(initializer(tensor("w", field(14, 1)))),
    "by a number that wraps round": of(initializer(tensor("w", field(14, (1 << 32) + 1)))),
    "named as if injected, in a subgraph": with_node(
        "Identity", attribute(6, graph(initializer(outside("a", "loss.pretrained.features.0.weight"))))
    ),
}

REFUSED = {
    "data outside a function": (
        wire.model(graph(), field(25, field(7, node("Constant", attribute(5, outside("a")))))),
        "functions or training information",
    ),
    "data outside training information": (
        wire.model(graph(), field(20, field(1, graph(initializer(outside("a")))))),
        "functions or training information",
    ),
    "a name stated twice": (of(initializer(tensor("w", field(8, "v")))), "states its name twice"),
    "an operator stated twice": (with_node("Identity", field(4, "If")), "states its op_type twice"),
    "two initializers of one name": (of(initializer(tensor()), initializer(tensor())), "two initializers are named"),
    "a branch": (with_node("If"), NOT_ALLOWED),
    "a loop": (with_node("Loop"), NOT_ALLOWED),
    "chance": (with_node("RandomNormal"), NOT_ALLOWED),
    "an operator nobody knows": (with_node("Launch\nMissiles"), NOT_ALLOWED),
    "Python": (with_node("PythonOp", field(7, "com.microsoft")), NOT_ALLOWED),
    "a foreign domain": (with_node("Identity", field(7, "com.evil")), NOT_ALLOWED),
    "a newer IR": (of(ir=11), "its IR version 11 is not one of 3 to 10"),
    "no IR": (of(ir=0), "its IR version 0"),
    "a negative IR": (of(ir=(1 << 64) - 1), "its IR version"),
    "a newer opset": (of(opset=22), "version 22 of the operator set"),
    "a foreign opset": (wire.model(graph(), field(8, field(1, "com.evil") + field(2, 1))), "'com.evil' is unknown"),
    "deep nesting": (nested(300), "nested too deeply"),
    "nothing": (b"", NO_MODEL),
    "text": (b"no model at all", NO_MODEL),
    "a pickle": (b"\x80\x04\x95\x1f\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", NO_MODEL),
    "half a model": (of(initializer(tensor()))[:-9], "ends too early"),
    "no graph": (field(1, 10) + field(8, field(2, 18)), NO_MODEL),
    "a graph that is a number": (field(1, 10) + field(8, field(2, 18)) + field(7, 1), NO_MODEL),
    "groups": (b"\x0b\x0c", NO_MODEL),
    "a number without end": (b"\x08" + b"\xff" * 99, NO_MODEL),
    "a length beyond the file": (b"\x3a\xff\xff\xff\xff\x0f", "ends too early"),
    "a field number that wraps round": (
        of(initializer(tensor("w", wire.varint(1 << 32 | 14 << 3) + b"\1"))),
        NO_MODEL,
    ),
    "field number 0": (b"\x00\x00", NO_MODEL),
    "a million fields": (wire.model(graph(field(99, 1) * 1_000_001)), "more than 1,000,000 fields"),
    "180 MB of zeros": (bytes(180 << 20), NO_MODEL),
}
PARTS = ("training_model.onnx", "training_model.blocked8.onnx", "training_model.blocked16.onnx")


@pytest.fixture(scope="module")
def ended(run_all, spoiled, put, tmp_path_factory):
    """How the installation of each model ended."""
    folder = tmp_path_factory.mktemp("homes")

    def install(content, path="discriminator_train/training_model.onnx"):
        def spoil(bundle):
            (bundle.parent / "secret").write_bytes(bytes(4))
            (bundle / path).with_name("symbolic.bin").symlink_to("/etc/passwd")
            os.link(bundle.parent / "secret", (bundle / path).with_name("hard.bin"))
            put(bundle, path, content)

        return "install", spoiled(spoil), "--home", folder / "home"

    outside_of = {f"{part}, outside": install(of(initializer(outside("a"))), f"solver_train/{part}") for part in PARTS}
    models = {name: install(content) for name, content in EXTERNAL.items()}
    models |= {name: install(content) for name, (content, _) in REFUSED.items()}
    models["solver, outside"] = install(of(initializer(outside("a"))), "solver.onnx")
    models["synthesis, not named"] = install(of(initializer(outside("a"))), "synthesis_image.onnx")
    return run_all(models | outside_of)


@pytest.mark.parametrize("name", EXTERNAL)
def test_no_tensor_is_read_from_another_file(ended, assert_refused, name):
    assert_refused(ended[name], ELSEWHERE)


@pytest.mark.parametrize("name", [*(f"{part}, outside" for part in PARTS), "solver, outside", "synthesis, not named"])
def test_no_artifact_may_have_data_in_another_file_but_what_the_manifest_says_is_injected(ended, assert_refused, name):
    assert_refused(ended[name], ELSEWHERE)


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_our_exporter_cannot_have_written_is_refused(ended, assert_refused, name):
    assert_refused(ended[name], REFUSED[name][1])

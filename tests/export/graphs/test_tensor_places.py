"""Where the weights lie in a model file, and what else a model file may hold."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from workstation_support import SHAPES, SMALL, TINY

from reverie.device_runtime.bundle.contents import read_weights, write_weights
from reverie.device_runtime.bundle.manifest import MODELS, TensorRecord
from reverie.device_runtime.errors import BundleError, ExportError
from reverie.export.graphs.artifacts import tensor_places

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200)
TENSORS = st.dictionaries(NAMES, st.lists(st.integers(1, 9), max_size=4).map(tuple), min_size=1, max_size=6)


def drawn(shapes, seed):
    """Random values for each shape by name."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def model_with(tensors, note=""):
    """A valid model that returns each of `tensors`, with an integer constant and notes among them."""
    nodes = [helper.make_node("Identity", [name], [f"out {i}"], doc_string=note) for i, name in enumerate(tensors)]
    outputs = [
        helper.make_tensor_value_info(f"out {i}", TensorProto.FLOAT, value.shape)
        for i, value in enumerate(tensors.values())
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    initializers.insert(len(initializers) // 2, numpy_helper.from_array(np.arange(3), "\x01 an integer constant"))
    graph = helper.make_graph(nodes, "g", [], outputs, initializers, doc_string=note)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, doc_string=note)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def initializers(content):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer}


@given(shapes=TENSORS, note=st.text(max_size=300), seed=st.integers(0, 2**31))
def test_the_bytes_at_each_recorded_place_are_the_tensor(shapes, note, seed):
    tensors = drawn(shapes, seed)
    content = model_with(tensors, note)
    places = tensor_places(content, list(tensors))
    assert places.keys() == tensors.keys()
    for name, value in tensors.items():
        assert places[name].shape == value.shape
        start = places[name].offset
        assert content[start : start + value.nbytes] == value.tobytes()
    assert all(np.array_equal(read, tensors[name]) for name, read in read_weights(content, places).items())


@given(shapes=TENSORS, seed=st.integers(0, 2**31), data=st.data())
def test_weights_written_in_place_are_what_onnx_loads_and_nothing_else_changes(shapes, seed, data):
    before, new = drawn(shapes, seed), drawn(shapes, seed + 1)
    chosen = data.draw(st.sets(st.sampled_from(sorted(shapes))))
    content = model_with(before)
    patched = write_weights(content, tensor_places(content, list(shapes)), {name: new[name] for name in chosen})
    assert len(patched) == len(content)
    onnx.checker.check_model(onnx.load_from_string(patched))
    after = initializers(patched)
    for name in shapes:
        np.testing.assert_array_equal(after[name], new[name] if name in chosen else before[name])
    restored = write_weights(patched, tensor_places(patched, list(shapes)), before)
    assert restored == content


@given(shapes=TENSORS, absent=NAMES)
def test_a_parameter_that_is_not_in_the_model_is_named(shapes, absent):
    content = model_with(drawn(shapes, 0))
    if absent in shapes:
        return
    with pytest.raises(ExportError, match=re.escape(f"parameters {absent} vanished in the export")):
        tensor_places(content, [*shapes, absent])


@pytest.mark.parametrize("form", ["float64", "not raw"])
def test_a_tensor_that_is_not_raw_float32_is_refused(form):
    value = np.arange(4, dtype=np.float64 if form == "float64" else np.float32)
    kind = TensorProto.DOUBLE if form == "float64" else TensorProto.FLOAT
    tensor = helper.make_tensor("w", kind, [4], value.tobytes() if form == "float64" else value, raw=form == "float64")
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("w", kind, [4])], [tensor])
    with pytest.raises(ExportError, match="w"):
        tensor_places(helper.make_model(graph).SerializeToString(), ["w"])


@given(offset=st.integers(-50, 5000), shape=st.lists(st.integers(0, 40), max_size=3).map(tuple))
def test_a_place_outside_the_file_is_refused(offset, shape):
    content = bytes(1000)
    size = 4 * int(np.prod(shape))
    records = {"w": TensorRecord(offset, shape)}
    if offset >= 0 and offset + size <= len(content):
        assert read_weights(content, records)["w"].shape == shape
    else:
        with pytest.raises(BundleError, match="tensor w lies outside its model file"):
            read_weights(content, records)


@settings(max_examples=20)
@given(name=st.sampled_from(["solver.hidden.weight", "unheard of"]), grow=st.booleans())
def test_a_weight_without_a_place_of_its_shape_is_refused(exported, name, grow):
    made = exported(SMALL)
    content, places = (made.folder / "solver.onnx").read_bytes(), made.manifest.tensors["solver"]
    shape = (*places["solver.hidden.weight"].shape, 1) if grow else places["solver.hidden.weight"].shape
    value = np.zeros(shape, np.float32)
    if name in places and not grow:
        assert not initializers(write_weights(content, places, {name: value}))[name].any()
    else:
        with pytest.raises(BundleError, match=f"weight {name} .* has no place in the model"):
            write_weights(content, places, {name: value})


@pytest.mark.parametrize("shape", [*SHAPES, TINY], ids=lambda shape: "x".join(map(str, shape)))
def test_serving_graphs_are_plain_onnx_that_any_runtime_reads(exported, shape):
    made = exported(shape)
    for name in MODELS:
        model = onnx.load(made.folder / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version <= 10
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions
        assert all(t.data_location == TensorProto.DEFAULT and not t.external_data for t in model.graph.initializer)
        network = getattr(made.networks, name)
        parameters = {f"{name}.{n}": tuple(p.shape) for n, p in network.named_parameters()}
        placed = {n: record.shape for n, record in made.manifest.tensors[name].items()}
        assert placed == parameters | ({"active": (7,)} if name == "solver" else {})
        for n, value in read_weights((made.folder / f"{name}.onnx").read_bytes(), made.manifest.tensors[name]).items():
            if n != "active":
                expected = network.get_parameter(n.removeprefix(f"{name}.")).detach().numpy()
                np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_no_bundle_file_tells_where_it_was_made(exported, shape, tmp_path):
    folder = exported(shape).folder
    here = [Path(__file__).parents[3], Path.home(), Path(sys.prefix), folder.parent, tmp_path, Path.cwd()]
    traces = [rb'File "', rb"\w{3}\.py\b", rb"Traceback", rb"/tmp/", rb"\.partial\b"]
    traces += [re.escape(str(path)).encode() + rb"\b" for path in here if path != Path("/")]
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [trace for trace in traces if re.search(trace, content)], path


def test_only_the_injected_weights_of_the_synthesis_graphs_lie_outside_their_file(exported):
    made = exported(SMALL)
    for path in made.folder.rglob("*.onnx"):
        model = onnx.load(path, load_external_data=False)
        outside = {t.name for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL}
        locations = {
            entry.value for t in model.graph.initializer for entry in t.external_data if entry.key == "location"
        }
        solvers = {f"loss.{which}.{n}" for which in ("pretrained", "trained") for n in solver_parameters(made)}
        expected = {
            "synthesis_image.onnx": solvers,
            "synthesis_noise.onnx": solvers | {f"generator.{n}" for n, _ in made.networks.generator.named_parameters()},
        }.get(path.name.replace(".blocked8", "").replace(".blocked16", ""), set())
        assert outside == expected
        assert locations <= {"injected-from-memory"}


def solver_parameters(made):
    return [n for n, _ in made.networks.solver.named_parameters()]

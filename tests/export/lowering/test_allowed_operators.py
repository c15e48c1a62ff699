"""Whatever the exporter lets through, a box lets run; and what onnx itself writes outside a file, a box refuses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from reverie.device_runtime.bundle.onnx_check import check_model
from reverie.device_runtime.bundle.onnx_operators import OPERATORS, OPSETS
from reverie.device_runtime.errors import BundleError
from reverie.export.from_onnx.functions import FUNCTIONS
from reverie.export.graphs.onnx_export import IR_VERSION
from reverie.export.lowering.operators import TRAINABLE, WITHOUT_GRADIENT
from reverie.export.lowering.rules import RULES


def test_every_operator_of_the_exporters_tables_may_run():
    assert OPERATORS[""] >= TRAINABLE | WITHOUT_GRADIENT | RULES.keys() | FUNCTIONS.keys()


def test_every_allowed_operator_is_one_of_the_standard_or_a_gradient():
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    assert {name for name in OPERATORS[""] - known if not name.endswith("Grad")} == set()
    assert onnx.defs.onnx_opset_version() >= max(OPSETS[""])


def test_no_allowed_operator_takes_a_subgraph():
    """Nor does one draw at random."""
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain and schema.name in OPERATORS[""]:
            kinds = {attribute.type for attribute in schema.attributes.values()}
            assert not kinds & {onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS}, schema.name
            assert "Random" not in schema.name


@pytest.fixture
def model():
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=IR_VERSION)


def test_what_onnx_writes_as_one_file_is_read_the_same(model):
    content = model.SerializeToString()
    start, end = check_model(content)["w"]
    assert content[start:end] == np.ones((64, 64), "<f4").tobytes()


def test_what_onnx_writes_into_another_file_is_refused(model, tmp_path):
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (tmp_path / "w.bin").exists()
    with pytest.raises(BundleError, match="the tensor 'w' has its data in another file"):
        check_model((tmp_path / "m.onnx").read_bytes())

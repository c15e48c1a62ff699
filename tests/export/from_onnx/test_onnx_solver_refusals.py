"""A file that cannot become a solver is refused in one line that says what and where, and nothing is written."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_files import file_with, graph_file, keras_file, linear


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": ("y", "flat")}, "has inputs x and outputs y, flat"),
        ({"kind": TensorProto.UINT8}, "the input x of model.onnx is not float32"),
        ({"shape": ("n", 1, 9, 8)}, "takes images of shape (1, 9, 8), not (1, 8, 8)"),
        ({"shape": ("n", 64)}, "takes images of shape (64), not (1, 8, 8)"),
        ({"opset": 22}, "is of opset 22: write it in opset 21 or older"),
    ],
)
def test_files_that_are_no_image_classifier_are_refused(own_file, changes, message):
    nodes, weights = linear("v", flat=72 if 9 in changes.get("shape", ()) else 64)
    nodes.insert(0, helper.make_node("Cast", ["x"], ["v"], to=TensorProto.FLOAT))
    graph_file(own_file.folder / "model.onnx", nodes, weights, **changes)
    assert message in own_file.refuse()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (("Det", ["x"]), "Det at here"),
        (("Einsum", ["x"], {"equation": "nchw->nchw"}), "operators that Reverie does not know: Einsum at here"),
        (("NonZero", ["x"]), "NonZero at here: what it computes must not depend on the values in its input"),
        (("FusedConv", ["x"], {"domain": "com.microsoft"}), "com.microsoft.FusedConv at here"),
        (
            ("Slice", ["x", "axis", "end", "three", "back"]),
            "Slice at here of model.onnx: a negative step is not covered",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_an_operator_that_is_not_covered_is_named_with_its_node(own_file, node, message):
    operator, inputs, *how = node
    file_with(
        own_file.folder / "model.onnx",
        helper.make_node(operator, inputs, ["v"], name="here", **(how[0] if how else {})),
        axis=np.array([-1]),
        end=np.array([-9]),
        three=np.array([3]),
        back=np.array([-1]),
    )
    assert message in own_file.refuse()


def test_sizes_that_depend_on_the_values_in_the_image_are_refused(own_file):
    more = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["size"], to=7),
        helper.make_node("Unsqueeze", ["size", "zero"], ["sizes"]),
    ]
    node = helper.make_node("Slice", ["x", "zero", "sizes"], ["v"], name="here")
    file_with(own_file.folder / "model.onnx", node, more=more, zero=np.array([0]))
    assert "Slice at here of model.onnx: a size or place in it depends on the values in its input" in own_file.refuse()


def test_weights_in_another_file_are_refused(own_file):
    path = own_file.folder / "model.onnx"
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    line = own_file.refuse()
    assert "in another file: write it as a single file" in line
    assert "external_data=False" in line


def test_a_file_whose_number_of_images_cannot_be_opened_is_refused(own_file):
    node = helper.make_node("Reshape", ["x", "all"], ["v"], name="here")
    weights = linear("v")[1]
    weights["all"] = np.array([-1])
    gathered = [node, helper.make_node("Gather", ["v", "places"], ["g"]), *linear("g")[0][1:]]
    gathered[-1].input[0] = "g"
    weights["places"] = np.arange(64).reshape(1, 64)
    graph_file(own_file.folder / "model.onnx", gathered, weights, (1, 1, 8, 8))
    assert "computes with the number of images that it is written for, 1" in own_file.refuse()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solver": "absent.onnx"}, "there is no file absent.onnx: check the path of the model"),
        ({"solver": "garbage.onnx"}, "cannot read garbage.onnx"),
        ({"generator": "model.onnx"}, "--generator is a file: only a solver can be given in ONNX format"),
        ({"classes": "cup,box"}, "the solver has 3 outputs"),
        ({"solver_weights": "generator.pt"}, "it lacks features.0.bias, features.0.weight, head.bias"),
        ({"input_shape": "3,8,8"}, "takes images of shape (1, 8, 8), not (3, 8, 8)"),
    ],
)
def test_what_does_not_fit_a_file_is_refused(own_file, changes, message):
    if "classes" in changes:
        for factory, file in {"Maker": "generator.pt", "Judge": "discriminator.pt"}.items():
            own_file.save(factory, file, classes=2)
    (own_file.folder / "garbage.onnx").write_bytes(b"no model")
    assert message in own_file.refuse(**changes)


def test_pretraining_beside_a_file_that_cannot_be_read_is_refused_before_anything_is_written(workspace, refused):
    rng = np.random.default_rng(0)
    for label in ("box", "cup"):
        (workspace / "photos" / label).mkdir(parents=True)
        for at in range(2):
            cv2.imwrite(str(workspace / f"photos/{label}/{at}.png"), rng.integers(0, 255, (8, 8), dtype=np.uint8))
    (workspace / "model.onnx").write_bytes(b"no model")
    line = refused("pretrain", "photos", "--solver", "model.onnx", "--output", "trained")
    assert "cannot read model.onnx" in line


def test_a_sigmoid_at_the_end_is_refused(own_file):
    keras_file(own_file.folder / "model.onnx", last="Sigmoid")
    assert "ends in a Sigmoid, a yes or no for each class: give a model that returns logits" in own_file.refuse()


def test_a_file_without_a_layer_that_makes_the_logits_gets_no_spare_classes(own_file):
    nodes, weights = linear()
    nodes[-1].output[0] = "logits"
    graph_file(own_file.folder / "model.onnx", [*nodes, helper.make_node("Tanh", ["logits"], ["y"])], weights)
    assert "export with --spare-classes 0" in own_file.refuse()

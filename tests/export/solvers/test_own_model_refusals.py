"""What is wrong with a user's own torch module is said in one line, with exit code 1 and nothing written."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"solver": "my_networks:growin"}, "no factory 'growin'; nearest: growing"),
        ({"solver": "my_networks:zzzzzz"}, "no factory 'zzzzzz'; nearest: none"),
        ({"solver": "my_networks"}, "write package.module:factory"),
        (
            {"solver": "nowhere.at_all:f"},
            "cannot import nowhere.at_all (ModuleNotFoundError: No module named 'nowhere')",
        ),
        ({"solver": "my_networks:failing"}, "my_networks:failing failed: ValueError: no such backbone"),
        ({"solver": "my_networks:no_module"}, "returned int, not a torch.nn.Module"),
        ({"solver": "my_networks:growing", "input_shape": "1,9,12"}, "does not run on inputs of shape (1, 9, 12)"),
        ({"input_shape": "64"}, "is not channels,height,width"),
        ({"input_shape": None}, "or also --input-shape"),
        ({"classes": None}, "or also --classes"),
        ({"generator": None}, "--generator and --generator-weights go together"),
        ({"solver_weights": "absent.pt"}, "there is no file absent.pt: check the path of the weights"),
        ({"generator": "my_networks:fixed", "generator_weights": "solver.pt"}, "the generator does not say how much"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_exported(own, changes, message):
    assert message in own.refuse(**changes)


def test_weights_of_another_network_are_refused_with_the_names_that_differ(own):
    line = own.refuse(solver_weights="generator.pt")
    assert "it lacks features.0.bias, features.0.weight, head.bias ... and holds layer.bias, layer.weight" in line


def test_weights_of_another_shape_are_refused_with_both_shapes(own):
    torch.save(own.saved["solver"].state_dict() | {"head.weight": torch.zeros(3, 4)}, "narrow.pt")
    assert "head.weight is (3, 4), the network has (3, 18)" in own.refuse(solver_weights="narrow.pt")


def test_a_pickled_module_is_not_executed_but_refused(own):
    torch.save(own.saved["solver"], "whole.pt")
    assert "cannot read weights from whole.pt (UnpicklingError)" in own.refuse(solver_weights="whole.pt")


def test_an_operator_that_cannot_train_is_named_with_its_place(own):
    assert "Asinh at solver.features.4" in own.refuse_solver("Untrainable")


def test_a_parameter_that_forward_does_not_use_is_named(own):
    assert "parameters solver.auxiliary.bias, solver.auxiliary.weight vanished" in own.refuse_solver("Unused")


@pytest.mark.parametrize(
    ("source", "message"),
    [("def f(:", "SyntaxError"), ("undefined_name", "NameError"), ("raise RuntimeError('no GPU')", "no GPU")],
)
def test_a_module_that_cannot_be_imported_is_refused(own, source, message):
    (own.folder / "broken_networks.py").write_text(source, encoding="utf-8")
    assert message in own.refuse(solver="broken_networks:f")


def test_an_input_shape_that_the_solver_does_not_take_is_refused(own):
    assert "the solver does not run on inputs of shape (1, 9, 12)" in own.refuse(input_shape="1,9,12")


def test_a_solver_that_returns_one_number_an_image_is_refused(own):
    assert "the solver returns shape (2,)" in own.refuse_solver("OneNumber")


def test_a_discriminator_that_spare_classes_would_change_for_known_ones_is_refused(own):
    """Its code comes first, so that columns added at the end would be taken from the image."""
    own.save("CodeFirst", "discriminator.pt")
    assert "discriminator" in own.refuse(discriminator="my_networks:CodeFirst")


def test_a_forward_that_depends_on_the_values_in_its_input_is_refused(own):
    assert "its forward must not depend on the values in its input" in own.refuse_solver("ByValue")


def test_a_parameter_that_is_not_float32_is_named(own):
    assert "solver.scale" in own.refuse_solver("Double")


def test_parameters_that_two_layers_share_are_named_as_shared(own):
    assert "share" in own.refuse_solver("Tied")


@pytest.mark.parametrize("classes", ["cup,box", "cup,box,pen,lid"])
def test_more_or_fewer_names_than_the_solver_has_outputs_are_refused(own, classes):
    """Else an output that means a class gets no name, or a name an output that means nothing."""
    for factory, file in {"Maker": "generator.pt", "Judge": "discriminator.pt"}.items():
        own.save(factory, file, classes=classes.count(",") + 1)
    assert "3 outputs" in own.refuse(classes=classes)


def test_a_forward_that_takes_one_batch_size_alone_is_refused(own):
    assert "solver.onnx" in own.refuse_solver("OnlyTwo")


@pytest.mark.parametrize("classes", ["cup,cup,pen", "cup,box/lid,pen", "cup,..,pen"])
def test_names_that_a_box_could_not_use_as_labels_are_refused(own, classes):
    assert classes.split(",")[1] in own.refuse(classes=classes)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("Squeezing", "the solver returns shape (7,) where (1, 7) is needed"),
        ("Softmaxed", "the solver returns probabilities where logits are needed"),
        ("Cosine", "its last layer is more than linear"),
    ],
)
def test_a_solver_that_would_be_another_one_on_a_box_is_refused(own, factory, message):
    assert message in own.refuse_solver(factory)

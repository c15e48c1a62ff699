"""A predictor that follows the pointer between frames: what is taken up, what is not, and whose fault it is."""

from __future__ import annotations

import pytest
from waiting import until

from reverie.device_runtime import probation, store
from reverie.device_runtime.images import read_image
from reverie.device_runtime.predictor import Predictor
from reverie.device_runtime.probation import Standing


@pytest.fixture
def image(test_folder):
    return read_image(min((test_folder / "bag").iterdir()))


def put_in_service(home, models, *, damaged=False):
    """Another generation serves, on probation, as after an update."""
    parent = store.read_generation(home)
    generation = store.add_generation(home, parent, models, {})
    path = home / "generations" / generation.name / "solver.onnx"
    if damaged:
        path.write_bytes(path.read_bytes()[:-1])
    probation.begin(home, Standing(generation.name, parent.name, 100, 2))
    return generation.name


def test_a_generation_is_taken_up_once_it_is_loaded_and_the_one_before_predicts_until_then(home, updated, image):
    predictor = Predictor(home)
    assert not predictor.take_up()
    old = predictor.predict(image)
    name = put_in_service(home, updated.models)
    assert not predictor.take_up()  # it begins to load
    assert predictor.predict(image) == old
    until(predictor.take_up)
    assert predictor.generation.name == name
    assert predictor.predict(image) == Predictor(home).predict(image) != old


def test_one_that_cannot_be_loaded_is_left_after_three_attempts_and_the_one_before_predicts_on(home, updated, image):
    predictor = Predictor(home)
    old = predictor.predict(image)
    put_in_service(home, updated.models, damaged=True)

    def left():
        assert not predictor.take_up()
        assert predictor.predict(image) == old
        return store.current(home) == "0000"

    until(left)
    assert not predictor.take_up()
    standing = probation.read(home)
    assert standing is None or standing.generation == "0000"


def test_a_fault_counts_against_the_generation_that_has_it_and_not_its_successor(home, updated):
    predictor = Predictor(home)
    put_in_service(home, updated.models, damaged=True)
    assert not predictor.take_up()
    predictor._loading[1].exception(timeout=20)
    sound = put_in_service(home, updated.models)
    assert not predictor.take_up()
    assert probation.read(home).failed == 0
    until(predictor.take_up)
    assert predictor.generation.name == sound


def test_one_that_was_left_again_while_it_loaded_is_not_taken_up(home, updated, image):
    predictor = Predictor(home)
    old = predictor.predict(image)
    put_in_service(home, updated.models)
    assert not predictor.take_up()
    predictor._loading[1].result(timeout=20)
    store.put_in_service(home, "0000")
    for _ in range(3):
        assert not predictor.take_up()
    assert predictor.generation.name == "0000"
    assert predictor.predict(image) == old

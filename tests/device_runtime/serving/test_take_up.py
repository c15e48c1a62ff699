"""A predictor that follows the pointer between frames: what is taken up, what is not, and whose fault it is."""

from __future__ import annotations

from waiting import PATIENCE, until

from reverie.device_runtime.home import store
from reverie.device_runtime.serving import probation
from reverie.device_runtime.serving.predictor import Predictor


def test_a_generation_is_taken_up_once_it_is_loaded_and_the_one_before_predicts_until_then(home, serve, image):
    predictor = Predictor(home)
    assert not predictor.take_up()
    old = predictor.predict(image)
    name = serve(100)
    assert not predictor.take_up()  # it begins to load
    assert predictor.predict(image) == old
    until(predictor.take_up)
    assert predictor.generation.name == name
    assert predictor.predict(image) == Predictor(home).predict(image) != old


def test_one_that_cannot_be_loaded_is_left_after_three_attempts_and_the_one_before_predicts_on(
    home, serve, damage, image
):
    predictor = Predictor(home)
    old = predictor.predict(image)
    damage(home, serve(100))

    def left():
        assert not predictor.take_up()
        assert predictor.predict(image) == old
        return store.current(home) == "0000"

    until(left)
    assert not predictor.take_up()
    standing = probation.read(home, store.current(home))
    assert standing is None or standing.generation == "0000"


def test_a_fault_counts_against_the_generation_that_has_it_and_not_its_successor(home, serve, damage):
    predictor = Predictor(home)
    damage(home, serve(100))
    assert not predictor.take_up()
    predictor._loading[1].exception(timeout=PATIENCE)
    sound = serve(100)
    assert not predictor.take_up()
    assert probation.read(home, store.current(home)).failed == 0
    until(predictor.take_up)
    assert predictor.generation.name == sound


def test_one_that_was_left_again_while_it_loaded_is_not_taken_up(home, serve, image):
    predictor = Predictor(home)
    old = predictor.predict(image)
    serve(100)
    assert not predictor.take_up()
    predictor._loading[1].result(timeout=PATIENCE)
    store.put_in_service(home, "0000")
    for _ in range(3):
        assert not predictor.take_up()
    assert predictor.generation.name == "0000"
    assert predictor.predict(image) == old

"""The solver in service: what it says is softmax over the classes in use, of the generation in service."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from judged import serves

from reverie.device_runtime.bundle.preprocess import image_to_input
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.home import store
from reverie.device_runtime.method.models import class_mask
from reverie.device_runtime.serving.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(installed):
    return Predictor(installed)


def softmax(logits):
    exponents = np.exp(logits - logits.max())
    return exponents / exponents.sum()


@given(hnp.arrays(np.uint8, (14, 14)))
def test_label_and_probability_are_the_softmax_of_the_solvers_logits(predictor, models, image):
    prediction = predictor.predict(image)
    x = image_to_input(image, models.manifest.preprocessing)[None]
    expected = softmax(models.solver_graph.run({"input": x})["logits"][0, :3].astype(np.float64))
    assert tuple(prediction.probabilities) == models.classes
    np.testing.assert_allclose(list(prediction.probabilities.values()), expected, atol=1e-6)
    assert prediction.label == models.classes[int(expected.argmax())]
    assert (
        prediction.probability == prediction.probabilities[prediction.label] == max(prediction.probabilities.values())
    )


@pytest.mark.parametrize("used", [3, 4, 6])
def test_slots_that_are_not_in_use_have_probability_zero_and_the_others_sum_to_one(models, live, used):
    """In the plain ONNX file that any runtime can serve."""
    named = models.with_classes((*models.classes, "a", "b", "c")[:used])
    probabilities = Graph(named.model_file("solver")).run({"input": live.inputs})["probabilities"]
    assert (probabilities[:, used:] == 0).all()
    assert (probabilities[:, :used] > 0).any(axis=0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(named.active, class_mask(used, 6))


def test_a_new_generation_is_served_once_it_is_in_service_and_not_before(home, updated, test_folder):
    before = Predictor(home)
    image = read_image(min((test_folder / "bag").iterdir()))
    old = before.predict(image)
    store.add_generation(home, store.read_generation(home), updated.models, serves(updated.report.to_json()))
    assert before.predict(image) == old
    after = Predictor(home)
    assert (before.generation.name, after.generation.name) == ("0000", "0001")
    new = after.predict(image)
    assert tuple(new.probabilities) == updated.models.classes
    x = image_to_input(image, updated.models.manifest.preprocessing)[None]
    expected = updated.models.solver_graph.run({"input": x})["probabilities"][0, :5]
    np.testing.assert_allclose(list(new.probabilities.values()), expected, atol=1e-6)
    (home / "current").write_text("0000", encoding="utf-8")
    assert Predictor(home).predict(image) == old


def test_an_altered_solver_is_not_served(home, damage):
    damage(home, "0000")
    with pytest.raises(BundleError, match=r"solver\.onnx"):
        Predictor(home)


def test_a_colour_picture_of_any_size_is_classified_like_its_grey_version(predictor):
    grey = np.tile(np.arange(28, dtype=np.uint8) * 9, (28, 1))
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_allclose(predictor.predict(colour).probability, predictor.predict(grey).probability, atol=0.05)
    assert predictor.predict(colour).label == predictor.predict(grey).label

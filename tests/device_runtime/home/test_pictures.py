"""Pictures of inputs: a row a label in their order, as many columns as were asked for, nothing but PNG."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from reverie.device_runtime.home.pictures import picture_of_classes, picture_of_inputs
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update


def decoded(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def test_each_label_has_a_row_with_its_first_inputs_and_white_where_there_are_none(models):
    how = models.manifest.preprocessing
    black, white = (np.full((1, 14, 14), value, np.float32) for value in (-1, 1))
    inputs = np.stack([white, black, black, black, white])
    image = decoded(picture_of_inputs(inputs, np.array([7, 2, 2, 2, 7]), how, columns=2, scale=3))
    assert image.shape == (2 * 14 * 3, 2 * 14 * 3)
    assert (image[: 14 * 3] == 0).all()
    assert (image[14 * 3 :] == 255).all()
    one = decoded(picture_of_inputs(inputs[1:2], np.array([0]), how, columns=2, scale=1))
    assert (one[:, :14] == 0).all()
    assert (one[:, 14:] == 255).all()


def test_generated_inputs_have_a_row_for_each_class_and_are_the_same_each_time(models):
    picture = picture_of_classes(models, columns=4, scale=1)
    assert decoded(picture).shape == (14 * len(models.classes), 14 * 4)
    assert picture == picture_of_classes(models, columns=4, scale=1)


@pytest.mark.parametrize("form", ["default", "literal"])
def test_an_update_tells_the_reference_label_of_each_synthesised_input(models, frames, quick, form):
    config = quick
    if form == "literal":
        synthesis = replace(quick.literal().synthesis, count=20, steps=3)
        config = replace(quick.literal(), fine_tune=quick.fine_tune, synthesis=synthesis)
    result = run_update(models, frames, config, Monitor())
    assert len(result.synthesised) == len(result.references) > 0
    assert result.references.max() < len(result.models.classes)
    picture = picture_of_inputs(result.synthesised, result.references, models.manifest.preprocessing)
    assert decoded(picture).shape[0] == 14 * 2 * len(np.unique(result.references))

"""The forms that `reverie bench accuracy` compares: each is the default but for what its name says."""

from __future__ import annotations

import pytest

from reverie.device_runtime.config import UpdateConfig
from reverie.tools.bench.forms import ABLATIONS, FORMS, all_forms

DEFAULT = UpdateConfig()


@pytest.mark.parametrize("name", [name for name in all_forms() if name != "default"])
def test_every_form_but_the_default_differs_from_it_and_no_two_are_the_same(name):
    changed = all_forms()[name](DEFAULT)
    assert changed != DEFAULT
    assert [other for other, form in all_forms().items() if form(DEFAULT) == changed] == [name]


@pytest.mark.parametrize("live", ["2", "1.5", "1"])
def test_more_replay_takes_as_many_steps_and_the_weight_of_the_synthesised_inputs(live):
    retrain = ABLATIONS["synthesis"][f"more replay, live {live}"](DEFAULT).retrain
    assert retrain.fit == DEFAULT.retrain.fit
    assert retrain.replay == DEFAULT.retrain.replay + DEFAULT.retrain.synthesised
    assert (retrain.synthesised, retrain.live) == (0.0, float(live))


@pytest.mark.parametrize("form", [FORMS["dgr"], ABLATIONS["replay"]["noise as trained"]])
def test_noise_as_trained_is_what_replay_draws_and_what_the_generator_keeps(form):
    changed = form(DEFAULT)
    assert changed.replay.noise_spread == changed.generative.noise_spread == 1.0


def test_deep_generative_replay_trains_on_moved_images_as_all_others_do():
    changed = FORMS["dgr"](DEFAULT)
    assert changed.fine_tune.shift == DEFAULT.fine_tune.shift
    assert changed.fine_tune.steps == DEFAULT.fine_tune.steps + DEFAULT.retrain.fit.steps
    assert (changed.synthesis.count, changed.replay.soft_labels) == (0, False)

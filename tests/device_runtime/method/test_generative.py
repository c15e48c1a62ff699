"""Stage 6: the generator learns the live classes and keeps the others."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.config import GenerativeConfig, UpdateConfig
from reverie.device_runtime.home.pictures import picture_of_classes
from reverie.device_runtime.method.coordinates import principal_coordinates
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.generative import coverage, draw_round, update_generator
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.noise import next_time, telling, told_by
from reverie.device_runtime.method.randomness import rng_for
from reverie.device_runtime.method.replay import generate

CONFIG = GenerativeConfig(batch=12, components=4)


@pytest.fixture(scope="module")
def coordinates(live, models):
    return principal_coordinates(live.inputs, live.labels, models.manifest.noise_size, rng_for(0, "test"))[:]


def test_every_known_class_keeps_at_least_half_its_even_share(models, updated):
    shares = updated.report.coverage
    assert all(shares[label] >= 0.5 / len(updated.models.classes) for label in models.classes)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(np.isfinite(w).all() for w in updated.models.generator.values())


def test_the_generator_makes_inputs_of_the_new_classes_and_did_not_before(grown, updated):
    """Generated with the codes of the new classes, as the updated solver sees them."""
    before = coverage(replace(updated.models, generator=grown.generator), 0)[3:]
    assert sum(updated.report.coverage[label] for label in ("bag", "sneaker")) > sum(before) + 0.1


def test_without_the_old_samples_the_generator_forgets_the_known_classes(models, updated, live, patient):
    """The control: the literal generative update. Its inputs of known classes are no longer taken for them."""
    watching = Monitor()
    with watching.stage("generative update"):
        generator, _ = update_generator(models, updated.models, live, patient.literal().generative, 0, watching)
    forgot = coverage(replace(updated.models, generator=generator), 0)
    assert min(forgot[:3]) < 0.5 / len(updated.models.classes)


def test_a_generator_without_class_codes_is_held_to_no_coordinates(models, updated, live):
    free = replace(models, manifest=replace(models.manifest, conditional=False))
    found = []
    for reconstruction in (0.0, 20.0):
        monitor, config = Monitor(), replace(CONFIG, steps=2, reconstruction=reconstruction)
        with monitor.stage("generative update"):
            found.append(update_generator(free, updated.models, live, config, 0, monitor)[0])
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name])


def test_coverage_is_measured_by_the_solver_on_even_codes(models):
    shares = coverage(models, 0, samples=300)
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0.2


@given(st.integers(2, 40), st.integers(0, 99))
def test_half_of_a_round_is_live_and_the_other_half_of_known_classes(models, live, coordinates, batch, seed):
    now = draw_round(models, live, coordinates, replace(CONFIG, batch=batch), rng_for(seed, "test"))
    half = batch // 2
    is_live = np.isin(now.labels, live.labels)
    np.testing.assert_array_equal(is_live, np.arange(batch) < batch - half)
    assert (now.labels[~is_live] < len(models.classes)).all()
    held = now.anchor_weight[~is_live]
    np.testing.assert_allclose(held, CONFIG.anchor / half, rtol=1e-6)
    np.testing.assert_array_equal(now.live_inputs, now.anchor)
    np.testing.assert_array_equal(now.live_labels, now.labels)
    shares = [now.class_weight[part].sum() for part in (is_live, ~is_live)]
    np.testing.assert_allclose(shares, CONFIG.class_consistency, rtol=1e-5)


def test_the_literal_round_shows_live_inputs_alone_as_live(models, live, coordinates):
    literal = replace(CONFIG, replay_as_live=False, anchor=0.0, reconstruction=0.0)
    now = draw_round(models, live, coordinates, literal, rng_for(0, "test"))
    known = {x.tobytes() for x in live.inputs}
    assert len(now.live_inputs) == 6
    assert {x.tobytes() for x in now.live_inputs} <= known
    assert not now.anchor_weight.any()


def test_a_known_class_that_is_live_again_is_made_from_noise_that_tells_old_from_new(models, live, coordinates):
    known = Live(live.inputs, live.labels - 3)  # slots 0 and 1
    before = replace(models, learnt=(1, 3, 1))
    now = draw_round(before, known, coordinates, replace(CONFIG, batch=64), rng_for(0, "test"))
    is_live = np.arange(64) < 32
    size = told_by(now.noise.shape[1])
    clear = np.sign(now.noise[:, -size:]) == np.sign(telling(0 * now.noise, next_time(before, now.labels))[:, -size:])
    assert clear[is_live].mean() > 0.95
    assert clear[~is_live & (now.labels != 2)].mean() < 0.75


def test_what_is_rehearsed_is_what_the_previous_generator_made(models, live, coordinates):
    """From noise that tells nothing as yet, of the class that is live again for the first time."""
    known = Live(live.inputs, live.labels - 3)
    before = replace(models, learnt=(1, 3, 1))
    now = draw_round(before, known, coordinates, replace(CONFIG, batch=64), rng_for(0, "test"))
    size = told_by(now.noise.shape[1])
    pretraining = telling(np.zeros_like(now.noise), np.zeros(64, int))
    as_taken = now.noise.copy()
    first = now.labels == 0
    as_taken[first, -size:] = 2 * (now.noise - pretraining)[first, -size:]
    made = generate(models, as_taken, now.labels)
    np.testing.assert_allclose(now.anchor[32:], made[32:], atol=1e-4)
    np.testing.assert_allclose(now.anchor_weight[32:], CONFIG.anchor / 32, rtol=1e-6)


def test_the_literal_round_draws_plain_noise_for_known_classes_that_are_live(models, live, coordinates):
    known = Live(live.inputs, live.labels - 3)
    literal = replace(UpdateConfig().literal().generative, batch=400)
    now = draw_round(models, known, coordinates, literal, rng_for(0, "test"))
    np.testing.assert_allclose([now.noise.mean(), now.noise.std()], [0, 1], atol=0.05)


def test_an_input_to_reproduce_keeps_its_first_coordinates_and_gets_fresh_noise_for_the_rest(models, live, coordinates):
    now = draw_round(models, live, coordinates, CONFIG, rng_for(0, "test"))
    for at in np.flatnonzero(now.anchor_weight[:6] > 0):
        row = next(r for r, x in enumerate(live.inputs) if x.tobytes() == now.anchor[at].tobytes())
        np.testing.assert_array_equal(now.noise[at, :4], coordinates[row, :4])
        assert (now.noise[at, 4:] != coordinates[row, 4:]).all()
    assert (now.anchor_weight[:6] > 0).sum() == 3


@given(st.integers(20, 40), st.integers(3, 8), st.integers(0, 99))
def test_principal_coordinates_look_like_fresh_noise(frames_of_a_class, width, seed):
    rng = np.random.default_rng(seed)
    inputs = (rng.standard_normal((frames_of_a_class, width)) * 3 + 7).astype(np.float32)
    found = principal_coordinates(inputs, np.zeros(frames_of_a_class, int), width - 1, rng)[:]
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.T @ found / frames_of_a_class, np.eye(width - 1), atol=1e-4)


def test_principal_coordinates_are_those_of_a_singular_value_decomposition():
    rng = np.random.default_rng(0)
    inputs = (rng.standard_normal((2500, 60)) * 0.9 ** np.arange(60)).astype(np.float32)
    found = principal_coordinates(inputs, np.zeros(2500, int), 4, rng)[:]
    np.testing.assert_allclose(found.T @ found / 2500, np.eye(4), atol=1e-4)
    _, _, axes = np.linalg.svd(inputs - inputs.mean(axis=0), full_matrices=False)
    for at in range(4):
        assert np.abs(np.corrcoef(found[:, at], inputs @ axes[at])[0, 1]) > 0.99


def test_frames_that_are_all_the_same_still_have_coordinates():
    found = principal_coordinates(np.ones((5, 1, 4, 4), np.float32), np.zeros(5, int), 8, rng_for(0, "test"))[:]
    assert np.isfinite(found).all()
    assert 0.3 < found.std() < 3


def test_the_picture_of_classes_is_a_png_with_a_row_for_each_class(models):
    picture = cv2.imdecode(
        np.frombuffer(picture_of_classes(models, columns=5, scale=2), np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert picture.shape == (2 * 14 * len(models.classes), 2 * 14 * 5)
    assert picture.std() > 10

"""The checks of a single frame: what is fit passes whatever its light and size, what is not is told for what it is."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from reverie.device_runtime.bundle.preprocess import find_images
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.config import IntakeConfig
from reverie.device_runtime.frames import intake
from reverie.device_runtime.home.row_files import Scratch

CONFIG = IntakeConfig()
images = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)),
)


def scene(side=480, seed=0, colour=True):
    """Shapes with sharp edges in even light, as a camera sees things on a table."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side * 4 // 3, 3), rng.integers(60, 200, 3), np.uint8)
    for _ in range(12):
        x, y, w, h = rng.integers(0, side, 4).tolist()
        cv2.rectangle(image, (x, y), (x + w // 3 + 4, y + h // 3 + 4), rng.integers(0, 256, 3).tolist(), -1)
    return image if colour else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def honest(repository):
    return [read_image(file) for file in find_images(repository / "models/fashion-demo/frames")[::5]]


def test_tiny_grey_images_pass_as_they_are_and_under_every_shift(honest):
    """Another light or lens is why a box updates: no check may keep that out."""
    turn = cv2.getRotationMatrix2D((13.5, 13.5), 30, 1.0)
    shifts = {
        "honest": lambda image: image,
        "inverted": lambda image: 255 - image,
        "blurred": lambda image: cv2.GaussianBlur(image, (0, 0), 1.0),
        "turned": lambda image: cv2.warpAffine(image, turn, (28, 28)),
        "dim": lambda image: image // 3 * 2,
    }
    for name, shift in shifts.items():
        flaws = [intake.flaw(shift(image), CONFIG) for image in honest]
        assert not any(flaws), name


@given(st.integers(48, 1200), st.integers(0, 50), st.booleans(), st.floats(0.35, 1.2))
def test_a_sharp_scene_passes_in_any_size_and_light(side, seed, colour, light):
    image = np.clip(scene(side, seed, colour) * light, 0, 255).astype(np.uint8)
    assert intake.flaw(image, CONFIG) is None


@given(st.integers(48, 600), st.integers(0, 50), st.booleans(), st.floats(0.25, 0.7), st.sampled_from([128, 130]))
def test_a_frame_whose_lower_part_was_lost_is_half_decoded(side, seed, colour, share, grey):
    image = scene(side, seed, colour)
    assume((np.abs(image.astype(int) - grey) <= 2 * intake.SAME).mean() < intake.BESIDE)  # a grey of its own
    image[round((1 - share) * len(image)) :] = grey
    assert intake.flaw(image, CONFIG) == intake.HALF_DECODED


def test_grey_that_was_stored_with_loss_and_green_are_half_decoded_and_a_grey_wall_is_not():
    image = scene(seed=3)
    image[250:] = 128
    stored = cv2.imdecode(cv2.imencode(".jpg", image)[1], cv2.IMREAD_COLOR)
    assert not np.array_equal(stored, image)
    assert intake.flaw(stored, CONFIG) == intake.HALF_DECODED
    image[250:] = (0, 135, 0)
    assert intake.flaw(image, CONFIG) == intake.HALF_DECODED
    grey = np.full((480, 640, 3), 128, np.uint8)  # a wall, with a thing in front of it
    grey[100:300, 200:500] = scene(seed=4)[100:300, 200:500]
    assert intake.flaw(grey, CONFIG) is None


@given(images)
def test_any_image_gets_a_reason_or_none_and_the_smallest_are_too_small(image):
    reason = intake.flaw(image, CONFIG)
    known = {intake.TOO_SMALL, intake.TOO_DARK, intake.TOO_BRIGHT, intake.BLANK, intake.BLURRED, None}
    assert reason in known
    assert (reason == intake.TOO_SMALL) == (min(image.shape[:2]) < intake.SMALLEST)
    assert intake.look(image).thumbnail.shape == (768,)


@given(st.integers(0, 30), st.sampled_from([(28, 28), (480, 640, 3)]))
def test_what_shows_nothing_is_told_for_what_it_is(seed, shape):
    noise = np.random.default_rng(seed).normal(0, 3, shape)
    for level, reason in ((0, intake.TOO_DARK), (14, intake.TOO_DARK), (120, intake.BLANK), (254, intake.TOO_BRIGHT)):
        assert intake.flaw(np.clip(level + noise, 0, 255).astype(np.uint8), CONFIG) == reason


@settings(max_examples=15)
@given(st.integers(0, 30), st.floats(0.02, 0.05))
def test_a_frame_out_of_focus_is_blurred_unless_that_is_not_asked(seed, share):
    image = scene(256, seed)
    blurred = cv2.GaussianBlur(image, (0, 0), share * 256)
    blurred = np.clip(blurred + np.random.default_rng(seed).normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    assume(cv2.cvtColor(blurred, cv2.COLOR_BGR2GRAY).std() > 25)  # of less contrast, little but noise is left
    assume(intake.flaw(blurred, replace(CONFIG, min_sharpness=0.0)) is None)
    assert intake.flaw(blurred, CONFIG) == intake.BLURRED
    assert intake.flaw(image, CONFIG) is None


@given(images, images)
def test_sharpness_counts_neither_contrast_nor_light(first, second):
    for image in (first, second):
        grey = image if image.ndim == 2 else image[:, :, 0]
        assume(grey.var() > 1)
        assert intake.sharpness(grey // 2 + 50) <= 3 * intake.sharpness(grey) + 1
    large = scene(256, 1, colour=False)
    np.testing.assert_allclose(intake.sharpness(large // 2 + 50), intake.sharpness(large), rtol=0.05)


@given(images)
def test_the_same_pixels_are_a_duplicate_and_under_another_label_a_contradiction(scratch, image):
    earlier = intake.Earlier(Scratch(scratch, (intake.SIZE,), np.uint8))
    earlier.add(7, "cup", intake.look(image))
    none = replace(CONFIG, near_duplicate=0.0)
    for config in (CONFIG, none):
        assert earlier.match(intake.look(image.copy()), "cup", config) == (intake.DUPLICATE, 7, False)
        assert earlier.match(intake.look(image.copy()), "box", config) == ("also labelled cup", 7, True)


@given(st.integers(0, 30), st.integers(1, 4), st.booleans())
def test_noise_compression_and_size_make_no_other_picture(scratch, seed, noise, colour):
    image = scene(240, seed, colour)
    rng = np.random.default_rng(seed)
    noisy = np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)
    earlier = intake.Earlier(Scratch(scratch, (intake.SIZE,), np.uint8))
    earlier.add(0, "cup", intake.look(image))
    assert earlier.match(intake.look(noisy), "cup", CONFIG).reason == intake.NEAR_DUPLICATE
    assert earlier.match(intake.look(noisy), "box", CONFIG).contradicts
    assert earlier.match(intake.look(noisy), "cup", replace(CONFIG, near_duplicate=0.0)) is None
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert earlier.match(intake.look(half), "box", CONFIG).contradicts
    assert earlier.match(intake.look(scene(240, seed + 1, colour)), "box", CONFIG) is None


def test_no_two_of_many_honest_images_are_taken_for_the_same(scratch, honest):
    earlier = intake.Earlier(Scratch(scratch, (intake.SIZE,), np.uint8))
    for at, image in enumerate(honest):
        seen = intake.look(image)
        assert earlier.match(seen, "a", CONFIG) is None
        assert earlier.match(seen, "b", CONFIG) is None
        earlier.add(at, "a", seen)
    for at, image in enumerate(honest):
        assert earlier.match(intake.look(image), "b", CONFIG).key == at


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.floats(0.5, 1.0))
def test_the_solver_contradicts_a_label_only_where_it_is_sure_and_knows_most_of_the_class(seen, sure):
    seen = np.array(seen)
    wrong = intake.mistaken(seen, np.full(len(seen), sure), 1, CONFIG)
    if sure <= CONFIG.sure or 2 * (seen == 1).sum() <= len(seen):
        assert not wrong.any()
    else:
        np.testing.assert_array_equal(wrong, seen != 1)
    assert not intake.mistaken(seen, np.full(len(seen), sure), 1, replace(CONFIG, sure=1.0)).any()


def test_a_long_narrow_image_is_looked_at_in_little_memory():
    image = np.tile(scene(255), (1, 350, 1))
    tracemalloc.start()
    try:
        assert intake.flaw(image, CONFIG) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * image.nbytes / 3  # of 90 MB; its grey levels are a third

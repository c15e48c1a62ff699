"""Image files and frames become solver inputs, whatever their depth, channels and size."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reverie.device_runtime.bundle.preprocess import (
    COLOURS,
    INTERPOLATIONS,
    LAYOUTS,
    RESIZES,
    Preprocessing,
    find_images,
    image_to_input,
    input_to_image,
)
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.errors import FramesError

GREY = Preprocessing(6, 5, "grey")
RGB = Preprocessing(6, 5, "rgb")
STRETCH = replace(GREY, resize="stretch")


@given(hnp.arrays(np.uint8, (6, 5)))
def test_a_grey_image_survives_the_way_to_the_solver_and_back(image):
    np.testing.assert_array_equal(input_to_image(image_to_input(image, GREY), GREY), image)


@given(hnp.arrays(np.uint8, (6, 5, 3)))
def test_a_colour_image_survives_the_way_to_the_solver_and_back(image):
    np.testing.assert_array_equal(input_to_image(image_to_input(image, RGB), RGB), image)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30))))
def test_any_size_is_stretched_to_the_solvers_and_stays_in_range(image):
    x = image_to_input(image, STRETCH)
    assert x.shape == (1, 6, 5)
    assert x.dtype == np.float32
    assert -1 <= x.min() <= x.max() <= 1


def test_black_white_and_the_order_of_colours_are_what_the_manifest_says():
    blue = np.zeros((6, 5, 3), np.uint8)
    blue[..., 0] = 255
    np.testing.assert_array_equal(image_to_input(blue, RGB)[:, 0, 0], [-1, -1, 1])
    scaled = replace(GREY, mean=100.0, scale=50.0)
    np.testing.assert_array_equal(image_to_input(np.full((6, 5), 200, np.uint8), scaled), np.full((1, 6, 5), 2.0))


hows = st.builds(
    Preprocessing,
    height=st.just(6),
    width=st.just(5),
    colour=st.sampled_from(COLOURS),
    resize=st.sampled_from(RESIZES),
    shorter=st.integers(6, 9),
    interpolation=st.sampled_from(INTERPOLATIONS),
    layout=st.sampled_from(LAYOUTS),
)


@given(hows, hnp.arrays(np.uint8, (6, 5, 3)))
def test_every_rule_gives_the_shape_it_says_and_survives_json(how, image):
    x = image_to_input(image, how)
    assert x.shape == ((how.channels, 6, 5) if how.layout == "chw" else (6, 5, how.channels))
    assert (x.dtype, x.flags["C_CONTIGUOUS"]) == (np.float32, True)
    assert Preprocessing.from_json(json.loads(json.dumps(asdict(how)))) == how


@given(hows, hnp.arrays(np.uint8, (6, 5, 3)))
def test_what_is_not_resized_comes_back_from_every_layout_and_order_of_colours(how, image):
    how = replace(
        how, resize="exact", mean=(123.0, 117.0, 104.0)[: how.channels], scale=(58.0, 57.0, 56.0)[: how.channels]
    )
    expected = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if how.colour == "grey" else image
    np.testing.assert_array_equal(input_to_image(image_to_input(image, how), how), expected)


def test_each_channel_has_its_own_mean_and_scale_in_the_order_of_the_colours():
    image = np.zeros((6, 5, 3), np.uint8)
    image[:] = [10, 20, 30]  # blue, green, red
    own = {"mean": (1.0, 2.0, 3.0), "scale": (1.0, 2.0, 4.0)}
    np.testing.assert_array_equal(image_to_input(image, replace(RGB, **own))[:, 0, 0], [29, 9, 7 / 4])
    np.testing.assert_array_equal(image_to_input(image, replace(RGB, colour="bgr", **own))[:, 0, 0], [9, 9, 27 / 4])


@given(st.integers(6, 40), st.integers(6, 40))
def test_the_shorter_side_is_resized_and_the_middle_cut_out(high, wide):
    """On an image that grows along its longer side, the middle is in the middle."""
    how = Preprocessing(6, 6, "grey", resize="shorter", shorter=6, interpolation="linear")
    along = np.linspace(0, 255, max(high, wide)).astype(np.uint8)
    image = np.repeat(along[None], high, axis=0) if wide >= high else np.repeat(along[:, None], wide, axis=1)
    pixels = input_to_image(image_to_input(image, how), how).astype(int)
    assert abs(pixels.mean() - 127.5) < 20
    share = min(high, wide) / max(high, wide)
    assert abs((pixels.max() - pixels.min()) - 255 * share) < 60


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 0.0}, "divides by zero"),
        ({"scale": (1.0, 0.0, 1.0)}, "divides by zero"),
        ({"mean": (1.0, 2.0)}, "one for each channel"),
        ({"mean": float("nan")}, "one for each channel"),
        ({"colour": "yuv"}, "unknown"),
        ({"layout": "chwn"}, "unknown"),
        ({"interpolation": "fast"}, "unknown"),
        ({"height": 0}, "not a positive whole number"),
        ({"resize": "shorter", "shorter": 5}, "cuts out more than there is"),
    ],
)
def test_a_preprocessing_that_cannot_be_used_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_json(asdict(RGB) | changes)


def test_a_wrong_size_is_refused_where_the_rule_is_exact_and_both_sizes_are_named():
    with pytest.raises(FramesError, match=r"cup\.png is 7x9 pixels, the solver takes 5x6"):
        image_to_input(np.zeros((9, 7), np.uint8), GREY, "cup.png")


@pytest.mark.parametrize(
    ("shape", "dtype", "channels"),
    [((6, 5), np.uint8, 2), ((6, 5, 3), np.uint8, 3), ((6, 5, 4), np.uint8, 3), ((6, 5), np.uint16, 2)],
    ids=["grey", "colour", "transparent", "16 bit"],
)
def test_every_kind_of_png_is_read_as_eight_bit_grey_or_colour(tmp_path, shape, dtype, channels):
    image = (np.arange(np.prod(shape)).reshape(shape) * (257 if dtype is np.uint16 else 1)).astype(dtype)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    decoded = read_image(tmp_path / "a.png")
    assert decoded.dtype == np.uint8
    assert decoded.ndim == channels
    expected = image >> 8 if dtype is np.uint16 else image[..., :3] if image.ndim == 3 else image
    np.testing.assert_allclose(decoded.astype(int), expected, atol=1)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_image_are_refused_by_name(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("garbage") / "cup.png"
    path.write_bytes(content)
    with pytest.raises(FramesError, match=r"cup\.png is not a readable PNG or JPEG image"):
        read_image(path)


def test_images_are_found_at_any_depth_in_a_fixed_order_and_nothing_else_is(tmp_path):
    wanted = ["a/1.png", "a/b/2.JPG", "c.jpeg"]
    for name in [*wanted, "a/notes.txt", "d.png.part"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == wanted
    assert find_images(tmp_path / "c.jpeg") == [tmp_path / "c.jpeg"]

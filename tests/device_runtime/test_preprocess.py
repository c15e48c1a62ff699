"""Image files and frames become solver inputs, whatever their depth, channels and size."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reverie.device_runtime.bundle import Preprocessing
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.preprocess import find_images, image_to_input, input_to_image, read_image

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

"""The size that a file states is the size that it decodes to, and OpenCV itself is held to the same limit."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime import MAX_PIXELS
from reverie.device_runtime.bundle.preprocess import Preprocessing, image_to_input
from reverie.device_runtime.camera.images import image_size, read_image
from reverie.device_runtime.errors import FramesError

PROGRESSIVE = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]


def encode(suffix, picture, *how):
    return cv2.imencode(suffix, picture, *how)[1].tobytes()


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([(), (3,), (4,)]), st.sampled_from([".png", ".jpg"]))
def test_the_header_states_what_is_decoded(tmp_path_factory, height, width, channels, suffix):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    if suffix == ".jpg" and channels == (4,):
        picture = picture[:, :, :3]
    path = tmp_path_factory.getbasetemp() / f"picture{suffix}"
    path.write_bytes(encode(suffix, picture))
    assert image_size(path.read_bytes()) == (width, height, False)
    assert read_image(path).shape[:2] == (height, width)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".PNG"])
def test_the_first_bytes_count_and_not_the_name(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for real in (".png", ".jpg"):
        path.write_bytes(encode(real, np.zeros((4, 5), np.uint8)))
        assert read_image(path).shape == (4, 5)


def test_a_progressive_photograph_is_told_from_a_plain_one(tmp_path):
    picture = np.zeros((40, 50, 3), np.uint8)
    assert image_size(encode(".jpg", picture, PROGRESSIVE)) == (50, 40, True)
    (tmp_path / "a.jpg").write_bytes(encode(".jpg", picture, PROGRESSIVE))
    assert read_image(tmp_path / "a.jpg").shape == (40, 50, 3)


def test_fill_bytes_and_comments_before_the_header_are_passed_over():
    content = encode(".jpg", np.zeros((40, 50), np.uint8))
    filled = content[:2] + b"\xff\xff\xff\xfe\x00\x06\xff\xc0ab" + content[2:]
    assert image_size(filled) == (50, 40, False)


def test_an_image_of_the_largest_size_is_read_and_one_row_more_is_not(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(encode(".png", np.zeros((MAX_PIXELS // 8000, 8000), np.uint8)))
    assert read_image(path).size == MAX_PIXELS
    path.write_bytes(encode(".png", np.zeros((MAX_PIXELS // 8000 + 1, 8000), np.uint8)))
    with pytest.raises(FramesError, match="has 8000x4001 pixels, images may have 32 million: make it smaller"):
        read_image(path)


def test_a_strip_that_would_be_blown_up_is_refused():
    """Its shorter side of one pixel becomes 256, and so its longer one 15 million."""
    how = Preprocessing(224, 224, "grey", "shorter", shorter=256)
    with pytest.raises(FramesError, match="is 60000x1 pixels, too narrow to be resized"):
        image_to_input(np.zeros((1, 60_000), np.uint8), how)


def test_opencv_has_the_limit_too_whatever_the_environment_said():
    code = (
        "import reverie.device_runtime.bundle.preprocess, cv2, numpy as np\n"
        "picture = cv2.imencode('.bmp', np.zeros((4001, 8000), np.uint8))[1]\n"
        "try:\n    print(cv2.imdecode(picture, 0))\nexcept cv2.error as error:\n    print('refused', error)"
    )
    environment = {**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": "1000000000"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("refused") or done.stdout.strip() == "None"

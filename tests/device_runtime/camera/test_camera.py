"""Files and folders as cameras, and cameras that are not there."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import closing

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mjpeg import number_of, numbered

from reverie.device_runtime.camera import video_source
from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.camera.video_source import Wanted, as_bgr
from reverie.device_runtime.errors import CameraError
from reverie.device_runtime.method.monitor import peak_memory


def write_clip(path, frames, rate=25.0, size=None):
    size = size or (frames[0].shape[1], frames[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """40 numbered frames at 25 a second."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.avi", [numbered(n) for n in range(1, 41)])


def all_frames(camera):
    found = []
    while True:
        over = camera.over
        shot = camera.read(0.5)
        if shot is not None:
            found.append(shot)
        elif over:
            return found


@settings(max_examples=12)
@given(st.lists(st.sampled_from([0, 0, 0, 0.002, 0.01]), min_size=1, max_size=8))
def test_a_file_played_fast_gives_every_frame_once_and_in_order_however_slow_the_reader(clip, pauses):
    with closing(Camera(str(clip), fast=True)) as camera:
        seen = []
        while True:
            over = camera.over
            shot = camera.read(0.5)
            if shot is None and over:
                break
            if shot is not None:
                seen.append((shot.number, number_of(shot.image)))
                time.sleep(pauses[len(seen) % len(pauses)])
    assert seen == [(n, n) for n in range(1, 41)]
    assert camera.state.name == "ended"


def test_a_file_plays_at_its_own_rate_and_a_slow_reader_sees_the_newest(clip):
    with closing(Camera(str(clip))) as camera:
        camera.read(2)
        time.sleep(0.8)
        shot = camera.read(2)
        assert 3 < shot.number < 40
        assert number_of(shot.image) == shot.number


def test_a_file_that_loops_begins_again(clip):
    with closing(Camera(str(clip), fast=True, loop=True)) as camera:
        numbers = [number_of(camera.read(2).image) for _ in range(85)]
    assert numbers == [n % 40 + 1 for n in range(85)]
    assert camera.state.name == "live"


def test_a_folder_gives_its_images_by_name_and_passes_over_what_is_none(tmp_path):
    for number in (3, 1, 2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), numbered(number))
    (tmp_path / "2b.png").write_bytes(b"no image")
    with closing(Camera(str(tmp_path), fast=True)) as camera:
        assert [number_of(shot.image) for shot in all_frames(camera)] == [1, 2, 3]


def test_a_single_image_is_a_camera_of_one_frame(tmp_path):
    path = tmp_path / "one.png"
    cv2.imwrite(str(path), numbered(7))
    with closing(Camera(str(path), fast=True)) as camera:
        assert [number_of(shot.image) for shot in all_frames(camera)] == [7]


@pytest.mark.parametrize("rate", [0.01, 1e-300])
def test_the_first_frame_of_a_slow_clip_is_there_at_once(clip, rate):
    with closing(Camera(str(clip), Wanted(rate=rate, open_seconds=1, read_seconds=1))) as camera:
        assert camera.read(2).number == 1
        assert camera.read(0.2) is None
        assert camera.state.name == "live"


def test_whoever_reads_a_camera_that_is_closed_gets_no_more(clip):
    camera = Camera(str(clip), fast=True, loop=True)
    found = []
    reader = threading.Thread(target=lambda: found.extend(all_frames(camera)))
    reader.start()
    time.sleep(0.1)
    camera.close()
    reader.join(5)
    assert not reader.is_alive()
    assert found
    assert camera.over


@pytest.mark.parametrize("rate", [0.0, 1e6, 0.001])
def test_a_file_without_a_rate_that_can_be_plays_at_the_usual_one(clip, monkeypatch, rate):
    monkeypatch.setattr(video_source, "stated_rate", lambda _capture: rate)
    source = video_source.open_source(str(clip), Wanted())
    assert source.rate == video_source.USUAL_RATE
    source.close()


@pytest.mark.parametrize(("kind", "shape"), [
    (np.uint8, (20, 30)), (np.uint16, (20, 30)), (np.uint16, (20, 30, 3)), (np.uint8, (20, 30, 4)),
    (np.uint8, (1, 99, 3)), (np.uint8, (99, 1, 3)),
])  # fmt: skip
def test_images_of_any_depth_and_shape_are_shown_in_eight_bits(tmp_path, kind, shape):
    level = 90 if kind == np.uint8 else 90 << 8
    cv2.imwrite(str(tmp_path / "a.png"), np.full(shape, level, kind))
    for source in (tmp_path, tmp_path / "a.png"):
        with closing(Camera(str(source), fast=True)) as camera:
            (shot,) = all_frames(camera)
        assert (shot.image.shape, shot.image.dtype) == ((*shape[:2], 3), np.uint8)
        assert set(np.unique(shot.image)) == {90}


def test_images_that_go_away_while_a_folder_plays_are_passed_over(tmp_path):
    for number in range(1, 6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), numbered(number))
    with closing(Camera(str(tmp_path), fast=True)) as camera:
        assert number_of(camera.read(2).image) == 1
        for number in (4, 5):
            (tmp_path / f"{number}.png").unlink()
        assert [number_of(shot.image) for shot in all_frames(camera)] == [2, 3]


def test_a_file_that_is_removed_while_it_plays_is_played_to_its_end(clip, tmp_path):
    own = shutil.copy(clip, tmp_path / "own.avi")
    with closing(Camera(str(own), fast=True)) as camera:
        assert camera.read(2) is not None
        own.unlink()
        assert len(all_frames(camera)) == 39


def test_a_file_of_one_frame_shows_it_and_ends(tmp_path):
    with closing(Camera(str(write_clip(tmp_path / "a.avi", [numbered(5)])))) as camera:
        assert [number_of(shot.image) for shot in all_frames(camera)] == [5]


def test_a_file_that_was_cut_off_shows_what_there_is(clip, tmp_path):
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with closing(Camera(str(cut), fast=True)) as camera:
        numbers = [number_of(shot.image) for shot in all_frames(camera)]
    assert 5 < len(numbers) < 40
    assert numbers == sorted(numbers)


def test_closing_does_not_wait_for_a_reader_that_never_reads(clip):
    camera = Camera(str(clip), fast=True)
    camera.read(2)
    time.sleep(0.1)
    camera.close()
    assert not any(thread.name == "camera" and thread.is_alive() for thread in threading.enumerate())


@given(st.sampled_from([8, 10, 12, 14, 16]), st.sampled_from([(5, 7), (5, 7, 1), (1, 9), (5, 7, 3), (5, 7, 4)]))
def test_frames_of_any_depth_and_layout_become_bgr_of_eight_bits(bits, shape):
    kind = np.uint8 if bits == 8 else np.uint16
    frame = np.random.default_rng(0).integers(0, 1 << bits, shape).astype(kind)
    made = as_bgr(frame, bits)
    assert (made.dtype, made.shape) == (np.uint8, (*shape[:2], 3))
    first = frame[..., 0] if frame.ndim == 3 and shape[2] != 1 else frame.reshape(shape[:2])
    assert np.array_equal(made[..., 0], (first >> (bits - 8)).astype(np.uint8))


def test_frames_of_4k_pass_and_larger_ones_than_can_be_used_are_told(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "4k.avi", [np.full((2160, 3840, 3), 80, np.uint8)] * 3)
    with closing(Camera(str(path), fast=True)) as camera:
        assert [shot.image.shape for shot in all_frames(camera)] == [(2160, 3840, 3)] * 3
    monkeypatch.setattr(video_source, "MAX_PIXELS", 3840 * 2160 - 1)
    with pytest.raises(CameraError, match="a frame has 3840x2160 pixels"):
        Camera(str(path))


def test_memory_does_not_grow_with_the_frames(tmp_path):
    path = write_clip(tmp_path / "hd.avi", [np.full((720, 1280, 3), n * 20, np.uint8) for n in range(10)])
    with closing(Camera(str(path), fast=True, loop=True)) as camera:
        for _ in range(50):
            camera.read(2)
        before = peak_memory()
        for _ in range(400):
            camera.read(2)
    assert peak_memory() - before < 20e6  # 400 frames would be 1,100 MB

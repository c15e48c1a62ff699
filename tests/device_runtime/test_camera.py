"""Files and folders as cameras, and cameras that are not there."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import threading
import time
import wave
from contextlib import closing

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mjpeg import number_of, numbered

from reverie.device_runtime import video_source
from reverie.device_runtime.camera import Camera
from reverie.device_runtime.errors import CameraError
from reverie.device_runtime.monitor import peak_memory
from reverie.device_runtime.video_source import Wanted, as_bgr


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


def sound():
    """A tenth of a second of silence, as a WAV file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return content.getvalue()


def recorded(path):
    """MPEG-4 in MP4, whose index comes last: without it nothing can be played."""
    made = path.with_name("whole.mp4")
    writer = cv2.VideoWriter(str(made), cv2.VideoWriter_fourcc(*"mp4v"), 25, (256, 192))
    for number in range(1, 41):
        writer.write(numbered(number))
    writer.release()
    return made


NO_VIDEO = {
    "nothing": lambda path: path,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no video", encoding="utf-8"),
    "playlist": lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", encoding="utf-8"),
    "folder without images": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "sound alone": lambda path: path.write_bytes(sound()),
    "end is missing": lambda path: path.write_bytes(recorded(path).read_bytes()[:-300]),
}


@pytest.mark.parametrize("what", NO_VIDEO)
def test_what_is_no_video_is_told_in_one_line_and_nothing_else_is_printed(tmp_path, capfd, what):
    path = tmp_path / "clip.mp4"
    NO_VIDEO[what](path)
    with pytest.raises(CameraError, match=r"clip\.mp4") as error:
        Camera(str(path))
    assert len(str(error.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["m3u8", "mp4", "txt", "ffconcat", "sdp"])
@pytest.mark.parametrize("content", [
    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 26\n",
])  # fmt: skip
def test_a_video_file_opens_no_connection(tmp_path, suffix, content):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        path = tmp_path / f"clip.{suffix}"
        path.write_text(content.replace("{port}", str(server.getsockname()[1])), encoding="utf-8")
        with pytest.raises(CameraError):
            Camera(str(path), Wanted(read_seconds=1))
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_camera_that_is_not_there_says_which_ones_are():
    missing = "/dev/video97"
    assert not os.path.exists(missing)  # noqa: PTH110 (as the message has it)
    for name in ("97", missing):
        with pytest.raises(CameraError, match=r"camera /dev/video97 is not there.*found: "):
            Camera(name)


def test_a_device_that_is_no_camera_is_told(tmp_path):
    made = tmp_path / "video0"
    try:
        subprocess.run(["mknod", str(made), "c", "1", "3"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can make a device")
    with pytest.raises(CameraError, match="gives no pictures: it is in use by another program, or is no camera"):
        video_source.open_device(made, Wanted())


def test_a_camera_that_may_not_be_opened_says_what_is_missing(tmp_path):
    device = tmp_path / "video0"
    device.touch(0o000)
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(CameraError, match=r"video0 may not be opened: .* group video"):
            video_source.open_device(device, Wanted())
    finally:
        os.seteuid(own)


NO_NAMES = ["nosuch", "", " ", "-1", "a\0b", "x" * 5000, "ftp://127.0.0.1/a", "file:///etc/passwd", "concat:a|b",
            "pipe:0", "/dev/videos", "/dev/zero"]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES, ids=lambda name: name[:12].replace("\0", "0"))
def test_a_name_that_means_nothing_is_told(name):
    with pytest.raises(CameraError, match=r"there is no camera, stream|a stream begins with|File name too long"):
        Camera(name)


@given(st.text(max_size=12).filter(lambda name: "://" not in name and not name.isdigit()))
def test_any_other_name_is_a_path_and_plays_or_is_told(name):
    if not os.path.exists(f"./{name}".replace("\0", "")):  # noqa: PTH110 (Path would take some of them for others)
        with pytest.raises(CameraError):
            video_source.open_source(name, Wanted())


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

"""What is no camera and no video is told in one line, and opens nothing else."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import wave

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mjpeg import numbered

from reverie.device_runtime.camera import video_source
from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.camera.video_source import Wanted
from reverie.device_runtime.errors import CameraError


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

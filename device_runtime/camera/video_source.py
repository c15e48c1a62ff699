"""One opened camera, stream, video file or folder of images, read frame by frame; nothing here waits or tries again.

What a name means: a number or /dev/videoN is a camera of this machine, rtsp://, rtsps://, http:// and https:// a
stream, anything else the path of a video file or of a folder of images.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from reverie.device_runtime import MAX_PIXELS
from reverie.device_runtime.bundle.preprocess import find_images
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.errors import CameraError, FramesError

FORMATS = (
    "asf,avi,flv,gif,h264,hevc,image2,image2pipe,ivf,jpeg_pipe,m4v,matroska,webm,mjpeg,mov,mp4,mpeg,mpegts,mpegvideo,"
    "mpjpeg,ogg,png_pipe,rtp,rtsp,yuv4mpegpipe"
)
"""What FFmpeg may read. Playlists are not among it: they name other files of the box, and other servers.

Nor is an HTTP answer followed that sends elsewhere. One over RTSP is, to rtsp:// alone: OpenCV cannot forbid that.
"""

# Read by OpenCV whenever it opens something. FFmpeg would write to stderr what our errors say, passwords among it, and
# would take the environment's proxy, which would see them too.
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = (
    f"rtsp_transport;tcp|max_redirects;0|http_proxy;none|format_whitelist;{FORMATS}"
)

STREAMS = ("rtsp", "rtsps", "http", "https")
USUAL_RATE = 25.0
"""Frames a second of a file that states no rate that can be."""
FOLDER_RATE = 2.0


@dataclass(frozen=True)
class Wanted:
    """What is asked of a source: pixels, frames a second, the driver's own unit of exposure, seconds to wait.

    A camera takes the nearest that its driver allows. `rate` is also how fast a file or a folder plays.
    """

    width: int | None = None
    height: int | None = None
    rate: float | None = None
    exposure: float | None = None
    open_seconds: float = 10.0
    read_seconds: float = 5.0


@dataclass(frozen=True)
class VideoSource:
    """What was opened. `live`: it goes on whether somebody reads or not. `rate`: frames a second, of a recorded one."""

    live: bool
    rate: float
    read: Callable[[], np.ndarray | None]
    """The next frame, uint8 (H, W, 3) in BGR order; None where it ended, broke or stalled. Raises CameraError."""
    close: Callable[[], None]


def is_live(name: str) -> bool:
    """Whether `name` is a camera or a stream, which may come back once it is lost."""
    return _device(name) is not None or _scheme(name) is not None


def open_source(name: str, wanted: Wanted) -> VideoSource:
    """Open what `name` means. Raises CameraError."""
    try:
        return _open(name, wanted)
    except OSError as error:
        raise CameraError(f"{name} cannot be opened: {os.strerror(error.errno or 0)}") from None


def _open(name: str, wanted: Wanted) -> VideoSource:
    device = _device(name)
    if device is not None:
        return open_device(device, wanted)
    scheme = _scheme(name)
    if scheme is not None:
        if scheme not in STREAMS:
            raise CameraError(f"{name} cannot be opened: a stream begins with {', '.join(s + '://' for s in STREAMS)}")
        return _open_stream(name, wanted)
    path = Path(name)
    if name and path.is_dir():
        return _open_folder(path, wanted)
    if not path.is_file():
        raise CameraError(
            f"there is no camera, stream, video file or folder {name}: give a number such as 0, /dev/video0, "
            "rtsp://..., or a path"
        )
    return _open_file(path, wanted)


def as_bgr(frame: np.ndarray, bits: int = 8) -> np.ndarray:
    """uint8 (H, W, 3) of a frame that is grey or has an alpha channel, or whose pixels have `bits` bits."""
    if frame.dtype != np.uint8:
        frame = np.asarray(np.clip(frame / float(1 << max(bits - 8, 0)), 0, 255), np.uint8)
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    if frame.ndim == 2:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR)) if frame.shape[2] == 4 else frame


def _device(name: str) -> Path | None:
    """/dev/videoN, of that or of N."""
    if re.fullmatch(r"\d{1,3}", name):
        return Path(f"/dev/video{int(name)}")
    return Path(name) if re.fullmatch(r"/dev/(video\d+|v4l/.+)", name) else None


def _scheme(name: str) -> str | None:
    found = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):/", name)
    return found[1].lower() if found else None


def open_device(device: Path, wanted: Wanted) -> VideoSource:
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        raise CameraError(f"camera {device} {_why_not(error)}") from None
    capture = cv2.VideoCapture(str(device.resolve()), cv2.CAP_V4L2)
    if not capture.isOpened():
        raise CameraError(f"camera {device} gives no pictures: it is in use by another program, or is no camera")
    # Least buffering that the driver does, so that a frame is as new as can be.
    asked = {
        cv2.CAP_PROP_BUFFERSIZE: 1,
        cv2.CAP_PROP_FRAME_WIDTH: wanted.width,
        cv2.CAP_PROP_FRAME_HEIGHT: wanted.height,
        cv2.CAP_PROP_FPS: wanted.rate,
    }
    if wanted.exposure is not None:
        asked |= {cv2.CAP_PROP_AUTO_EXPOSURE: 1, cv2.CAP_PROP_EXPOSURE: wanted.exposure}  # 1: by hand, of V4L2
    for what, value in asked.items():
        if value is not None:
            capture.set(what, value)
    return _captured(capture, live=True, rate=0.0)


def _why_not(error: OSError) -> str:
    if error.errno in {errno.ENOENT, errno.ENXIO, errno.ENODEV}:
        there = ", ".join(str(path) for path in sorted(Path("/dev").glob("video*"))) or "none"
        return f"is not there: plug it in, or choose another (found: {there})"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "may not be opened: let this user read it, usually by the group video"
    if error.errno == errno.EBUSY:
        return "is in use by another program: close that one"
    return f"cannot be opened: {os.strerror(error.errno or 0)}"


def _open_stream(url: str, wanted: Wanted) -> VideoSource:
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1000 * wanted.open_seconds),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1000 * wanted.read_seconds),
    ]  # fmt: skip
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    if not capture.isOpened():
        raise CameraError(f"{url} gives no stream: check the address, the user and password in it, and that it is on")
    return _captured(capture, live=True, rate=0.0)


def _open_file(path: Path, wanted: Wanted) -> VideoSource:
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise CameraError(f"{path} is no video that can be read: give a video file or a folder of images")
    stated = stated_rate(capture)
    usual = stated if math.isfinite(stated) and 1 <= stated <= 240 else USUAL_RATE
    return _captured(capture, live=False, rate=wanted.rate or usual)


def stated_rate(capture: cv2.VideoCapture) -> float:
    """Frames a second, as the file has it."""
    return float(capture.get(cv2.CAP_PROP_FPS))


def _captured(capture: cv2.VideoCapture, *, live: bool, rate: float) -> VideoSource:
    # Before anything is decoded; a stream may change its size later.
    _check_size(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    bits = 8

    def read() -> np.ndarray | None:
        nonlocal bits
        try:
            there, frame = capture.read()
        except cv2.error:  # of some backends, once a camera was unplugged
            return None
        if not there or frame is None or not frame.size:
            return None
        _check_size(frame.shape[1], frame.shape[0])
        if frame.dtype != np.uint8:  # cameras of 10, 12 and 14 bits send 16: as many count as were ever seen
            bits = max(bits, int(frame.max()).bit_length())
        return as_bgr(frame, bits)

    return VideoSource(live, rate, read, capture.release)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise CameraError(
            f"a frame has {width}x{height} pixels, at most {MAX_PIXELS:,} can be used: ask for smaller ones"
        )


def _open_folder(folder: Path, wanted: Wanted) -> VideoSource:
    try:
        files = iter(find_images(folder))
    except FramesError as error:
        raise CameraError(str(error)) from None

    def read() -> np.ndarray | None:
        for file in files:
            try:
                return as_bgr(read_image(file))
            except FramesError:  # noqa: PERF203 (the others can be shown all the same)
                continue
        return None

    return VideoSource(False, wanted.rate or FOLDER_RATE, read, lambda: None)

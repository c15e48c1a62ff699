"""Images that anybody can hold before the camera or copy to the box, labels and addresses."""

from __future__ import annotations

import os
import struct
import zlib

import cv2
import numpy as np
import pytest

UNREADABLE = "is not a readable PNG or JPEG image"
TOO_LARGE = "pixels, images may have 32 million"
PICTURE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def encoded(suffix, picture=PICTURE, *how):
    return cv2.imencode(suffix, picture, *how)[1].tobytes()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, content=b"", colour=2, first=b"IHDR"):
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(first, header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(width, height, marker=0xC0, scan=3):
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\1\x22\0\2\x11\1\3\x11\1"
    return b"\xff\xd8" + segment(marker, frame) + segment(0xDA, bytes([scan]) + bytes(20)) + b"\xff\xd9"


IMAGES = {
    "a BMP": (encoded(".bmp"), UNREADABLE),
    "a TIFF": (encoded(".tiff"), UNREADABLE),
    "a WebP": (encoded(".webp"), UNREADABLE),
    "a JPEG 2000": (encoded(".jp2", np.tile(PICTURE, (8, 8, 1))), UNREADABLE),
    "an HDR": (encoded(".hdr", PICTURE.astype(np.float32)), UNREADABLE),
    "a PPM": (encoded(".ppm"), UNREADABLE),
    "a GIF": (b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", UNREADABLE),
    "an EXR": (b"v/1\1\2\0\0\0channels\0" + bytes(200), UNREADABLE),
    "an AVIF": (b"\0\0\0\x1cftypavif" + bytes(200), UNREADABLE),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", UNREADABLE),
    "nothing": (b"", UNREADABLE),
    "text": (b"no image", UNREADABLE),
    "the start of a PNG": (encoded(".png")[:20], UNREADABLE),
    "half a PNG": (encoded(".png")[:300], UNREADABLE),
    "a PNG with another first chunk": (png(4, 4, first=b"IHDX"), UNREADABLE),
    "a PNG of no size": (png(0, 4), UNREADABLE),
    "a PNG of 60,000 times 60,000": (png(60_000, 60_000), TOO_LARGE),
    "a PNG as wide as a number goes": (png(0x7FFFFFFF, 0x7FFFFFFF), TOO_LARGE),
    "a PNG of 33 million pixels": (png(6000, 5501, bytes(1 << 20)), TOO_LARGE),
    "a PNG without pixels": (png(4000, 4000), UNREADABLE),
    "a PNG with pixels for one row": (png(4000, 4000, bytes(12_001)), UNREADABLE),
    "the start of a JPEG": (encoded(".jpg")[:30], UNREADABLE),
    "a JPEG of 65,535 times 65,535": (jpeg(65_535, 65_535), TOO_LARGE),
    "a progressive JPEG of 20 million pixels": (jpeg(5000, 4000, 0xC2), f"{TOO_LARGE}, progressive ones half of that"),
    "a JPEG of many scans of 20 million pixels": (jpeg(5000, 4000, scan=1), TOO_LARGE),
    "a JPEG of no height": (jpeg(8, 0), UNREADABLE),
    "a JPEG without a frame": (b"\xff\xd8" + segment(0xDA, bytes(20)), UNREADABLE),
    "a JPEG of nothing but comments": (b"\xff\xd8" + segment(0xFE, b"") * 100_000, UNREADABLE),
    "a JPEG of nothing but fill": (b"\xff\xd8" + b"\xff" * (31 << 20), UNREADABLE),
    "a JPEG whose header hides in a segment": (
        b"\xff\xd8\xff\x01" + jpeg(60_000, 60_000)[2:] + bytes(0xFFC0 - 60) + jpeg(8, 8)[2:],
        UNREADABLE,
    ),
    "a lossless JPEG": (jpeg(64, 64, 0xC3), UNREADABLE),
    "40 MB": (png(64, 64) + bytes(40 << 20), "more than the 32 MB"),
}

LABELS = {
    "a line break": "a\nb",
    "what writes on the terminal": "a\x1b[2Jb",
    "what turns the line round": "a\u202eb",
    "a byte that is no text": os.fsdecode(b"a\xff"),
    "blanks around it": " a ",
    "65 characters": "x" * 65,
    "a separator of lines": "a\u2028b",
    "a backslash": "a\\b",
}

SECRET = "hunter2"  # noqa: S105 (made up)
ADDRESSES = {
    "a password": f"rtsp://admin:{SECRET}@camera.local:554/stream",
    "a password with a slash": f"rtsp://admin:a/{SECRET}@camera.local/stream",
    "a password with a question mark": f"rtsp://admin:a?{SECRET}@camera.local/stream",
    "a password with an at sign": f"rtsp://admin:a@{SECRET}@camera.local/stream",
    "a token": f"http://camera.local/video?token={SECRET}&channel=1",
    "a token as name": f"https://{SECRET}@camera.local/video",
    "a fragment": f"https://camera.local/video#{SECRET}",
}


@pytest.fixture(scope="module")
def ended(run_all, installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    commands = {}
    for at, (name, (content, _)) in enumerate(IMAGES.items()):
        for suffix in ("png", "jpg"):
            path = folder / f"{at}.{suffix}"
            path.write_bytes(content)
            commands[f"{name} as {suffix}"] = ["predict", path, "--home", installed]
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "narrow.png").write_bytes(encoded(".png", np.zeros((1, 60_000), np.uint8)))
    for name in ("pipe.png", "zero.png"):
        commands[name] = ["predict", folder / name, "--home", installed]
    for name, label in LABELS.items():
        frames = tmp_path_factory.mktemp("frames")
        (frames / os.fsencode(label).decode("utf-8", "surrogateescape")).mkdir()
        commands[f"label, {name}"] = ["update", "--frames", frames, "--home", installed]
    for name, address in ADDRESSES.items():
        commands[f"predict, {name}"] = ["predict", address, "--home", installed]
        commands[f"update, {name}"] = ["update", "--frames", address, "--home", installed]
        commands[f"install, {name}"] = ["install", address, "--home", folder / "home"]
        commands[f"home, {name}"] = ["status", "--home", address]
        commands[f"key, {name}"] = ["verify", installed, "--key", address]
        commands[f"option, {name}"] = ["predict", f"--{address}"]
    return run_all(commands)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_may_not_be_decoded_is_refused(ended, assert_refused, name, suffix):
    assert_refused(ended[f"{name} as {suffix}"], IMAGES[name][1])


@pytest.mark.parametrize("name", ["pipe.png", "zero.png"])
def test_what_is_no_file_is_never_read(ended, assert_refused, name):
    assert_refused(ended[name], name)


@pytest.mark.parametrize("name", LABELS)
def test_a_label_that_cannot_be_shown_is_refused(ended, assert_refused, name):
    assert_refused(ended[f"label, {name}"], "cannot be a label")


@pytest.mark.parametrize("name", ADDRESSES)
def test_no_command_shows_what_is_secret_in_an_address(ended, name):
    for verb in ("predict", "update", "install", "home", "key", "option"):
        done = ended[f"{verb}, {name}"]
        assert done["code"] in {1, 2}, done
        assert SECRET not in done["said"], done
        assert "Traceback" not in done["said"], done

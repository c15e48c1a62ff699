"""`reverie bench clips`: halves of clips become folders of frames; what is no clip leaves nothing behind."""

from __future__ import annotations

import cv2
import numpy as np
import pytest


def clip(path, frames, base):
    """A clip whose frame number n is grey at base + 4 n."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((48, 64, 3), base + 4 * number, np.uint8))
    writer.release()


@pytest.fixture
def clips(tmp_path):
    clip(tmp_path / "street.avi", 21, 0)
    clip(tmp_path / "cup.avi", 8, 150)
    return tmp_path


def split(clips, *more):
    known, new = clips / "street.avi", clips / "cup.avi"
    return ("bench", "clips", "--known", known, "--new", new, "--output", clips / "out", *more)


def test_first_halves_are_learnt_and_second_halves_tested(reverie, clips):
    done = reverie(*split(clips, "--most", 5))
    assert (done.code, done.err) == (0, "")
    assert [line.rpartition(": ")[2] for line in done.out.splitlines()] == ["5 images", "4 images", "9 images"]
    wanted = {
        "historical/street": [0, 2, 4, 6, 9],
        "frames/cup": [0, 1, 2, 3],
        "test/street": [10, 12, 15, 17, 20],
        "test/cup": [4, 5, 6, 7],
    }
    folders = {path.parent.relative_to(clips / "out").as_posix() for path in (clips / "out").rglob("*.jpg")}
    assert folders == wanted.keys()
    for folder, numbers in wanted.items():
        files = sorted((clips / "out" / folder).iterdir())
        assert [int(file.stem) for file in files] == numbers
        base = 150 if folder.endswith("cup") else 0
        for file, number in zip(files, numbers, strict=True):
            assert cv2.imread(str(file)).mean() == pytest.approx(base + 4 * number, abs=3)


@pytest.mark.parametrize("what", ["missing", "text", "one frame", "twice"])
def test_what_is_no_clip_is_named_and_leaves_nothing(reverie, clips, tree, what):
    cup = clips / "cup.avi"
    cup.unlink()
    if what == "text":
        cup.write_text("no clip", encoding="utf-8")
    elif what == "one frame":
        clip(cup, 1, 0)
    elif what == "twice":
        (clips / "more").mkdir()
        clip(clips / "more/street.avi", 4, 0)
    before = tree(clips)
    more = ("--new", clips / "more/street.avi") if what == "twice" else ()
    done = reverie(*split(clips, *more))
    assert (done.code, done.out) == (1, "")
    assert ("street names more than one class" if what == "twice" else "cup.avi is no video clip") in done.err
    assert tree(clips) == before


def test_an_output_that_exists_is_untouched(reverie, clips, tree):
    (clips / "out").mkdir()
    (clips / "out/mine.txt").touch()
    before = tree(clips)
    done = reverie(*split(clips))
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert tree(clips) == before

"""`reverie capture` without a view, as programs and shells see it."""

from __future__ import annotations

import json
import signal
import time
from contextlib import closing

import cv2
import numpy as np
import pytest
from clips import wander, write_clip
from mjpeg import MjpegServer
from served import AS_STARTED, RUN, inherited
from short import few, words
from waiting import PATIENCE, stored, until

from reverie.device_runtime.changes import transaction

pytestmark = pytest.mark.slow


def test_as_many_frames_as_were_wanted_are_kept_and_counted(reverie, home, cat_clip):
    done = reverie(
        "capture", "--home", home, "--source", cat_clip, "--fast", "--every", 0, "--label", "cat", "--count", 9
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-2:] == ["9 frames kept", "stored to learn: cat 9"]
    assert stored(home) == ["cat"] * 9


def test_all_frames_are_kept_of_a_folder_and_of_a_clip_that_is_played_fast(reverie, home, tmp_path):
    clip = write_clip(tmp_path / "cat.avi", frames := list(wander("chelsea", 6)))
    (tmp_path / "pictures").mkdir()
    for at, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / "pictures" / f"{at}.png"), cv2.rotate(frame, cv2.ROTATE_180))
    for label, source in (("clip", (clip, "--fast")), ("folder", (tmp_path / "pictures",))):
        done = reverie("capture", "--home", home, "--source", *source, "--label", label, "--json")
        assert done.code == 0, done
        *lines, _ = map(json.loads, done.out.splitlines())
        assert len(lines) == 6


def test_a_clip_that_ends_before_says_how_many_came(reverie, home, cat_clip):
    done = reverie(
        "capture", "--home", home, "--source", cat_clip, "--fast", "--every", 0, "--label", "cat", "--count", 99
    )
    assert done.code == 1
    added = len(stored(home))
    assert 20 < added <= 60
    assert f"has ended after {added} of 99 frames of cat" in done.err


def test_each_frame_that_is_not_kept_is_told_with_its_reason(reverie, home, tmp_path):
    rng = np.random.default_rng(0)
    dark, cat = np.zeros((200, 240, 3), np.uint8), next(wander("chelsea", 1))
    blurred = cv2.GaussianBlur(cat, (0, 0), 12)
    noise = rng.integers(0, 255, cat.shape, np.uint8)
    clip = write_clip(tmp_path / "bad.avi", [dark, cat, cat, blurred, noise])
    done = reverie("capture", "--home", home, "--source", clip, "--fast", "--every", 0, "--label", "cat", "--json")
    assert done.code == 0
    *lines, end = map(json.loads, done.out.splitlines())
    assert [line["reason"] for line in lines] == ["too dark", None, "duplicate", "blurred", None]
    assert end["added"] == {"cat": 2}
    assert end["set_aside"] == {"too dark": 1, "duplicate": 1, "blurred": 1}
    said = reverie("capture", "--home", home, "--source", clip, "--fast", "--every", 0, "--label", "cat").out
    assert "not kept: too dark" in said


def test_a_camera_that_shows_nothing_fit_is_given_up_in_words(reverie, home, tmp_path):
    clip = write_clip(tmp_path / "dark.avi", [np.zeros((200, 240, 3), np.uint8)] * 10)
    arguments = ("--source", clip, "--loop", "--every", 0, "--label", "cat", "--count", 3, "--patience", 1)
    done = reverie("capture", "--home", home, *arguments)
    assert done.code == 1
    assert "no frame was fit to be kept for 1 s: too dark" in done.err


def test_frames_may_be_further_apart_than_patience_lasts(reverie, home, cat_clip):
    arguments = ("--source", cat_clip, "--loop", "--every", 2.5, "--label", "cat", "--count", 2, "--patience", 0)
    done = reverie("capture", "--home", home, *arguments)
    assert (done.code, done.err) == (0, "")
    assert stored(home) == ["cat", "cat"]


def test_so_many_frames_are_for_a_script_and_no_view(reverie, home, cat_clip):
    arguments = ("--source", cat_clip, "--label", "cat", "--count", 2, "--view", "terminal")
    done = reverie("capture", "--home", home, *arguments)
    assert (done.code, "--count goes with --view none" in done.err) == (2, True)


@pytest.mark.parametrize("arguments", [
    ("--source", "/dev/video98", "--label", "cat"),
    ("--source", "rtsp://me:s3cret@127.0.0.1:9/x", "--label", "cat"),
])  # fmt: skip
def test_a_camera_that_cannot_be_opened_is_one_line(reverie, home, arguments):
    for command in (("capture", *arguments), ("predict", *arguments[:2])):
        done = reverie(*command, "--home", home)
        assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
        assert "s3cret" not in done.err


@pytest.mark.parametrize("arguments", [(), ("--json", "--view", "terminal"), ("--label", "a", "--region", "1,2,3")])
def test_a_command_line_that_makes_no_sense_is_told(reverie, home, cat_clip, arguments):
    done = reverie("capture", "--home", home, "--source", cat_clip, *arguments)
    assert done.code == 2
    assert "Error: " in done.err


def test_a_label_that_cannot_be_one_is_told_before_anything_is_kept(reverie, home, cat_clip):
    done = reverie("capture", "--home", home, "--source", cat_clip, "--label", "a/b")
    assert (done.code, stored(home)) == (1, [])
    assert "cannot be a label" in done.err


def test_a_view_without_a_terminal_or_a_display_is_one_line(reverie, home, cat_clip, monkeypatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":77")
    for view, said in (("terminal", "no terminal to read keys from"), ("window", "--view terminal")):
        done = reverie("capture", "--home", home, "--source", cat_clip, "--view", view)
        assert done.code == 1
        assert said in done.err


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda s: s.name)
def test_a_capture_that_is_stopped_loses_no_frame_that_it_told(home, cat_clip, sign, start):
    with inherited(signal.SIGHUP, signal.SIG_DFL):  # what runs this may ignore it
        process = start(
            "capture", "--home", home, "--source", cat_clip, "--loop", "--every", 0, "--label", "cat", "--json"
        )
    told = 0
    for line in process.stdout:
        told += json.loads(line)["kept"]
        if told == 5:
            break
    process.send_signal(sign)
    rest, error = process.communicate(timeout=PATIENCE)
    lines = map(json.loads, filter(lambda line: line.endswith("}"), rest.splitlines()))
    told += sum(line.get("kept", False) for line in lines)
    assert told <= len(stored(home)) <= told + 1
    assert "Traceback" not in error
    assert process.returncode == (-signal.SIGKILL if sign == signal.SIGKILL else 130)


def test_an_update_that_is_interrupted_with_the_capture_says_how_to_go_on(home, cat_clip, start):
    arguments = ("--loop", "--every", 0, "--label", "cat", "--count", 10, "--update-after", 10)
    process = start("capture", "--home", home, "--source", cat_clip, *arguments)
    for line in process.stderr:
        if line == "update: fine-tune\n":
            break
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=PATIENCE)
    assert (process.returncode, error) == (
        130,
        f"the update was interrupted; go on with: reverie update --home {home}\n",
    )
    assert "10 frames kept" in out
    updates, busy = transaction.look(home)
    assert (updates[-1].outcome, busy) == (None, False)


def test_an_update_ends_with_a_capture_that_a_script_started_in_the_background(home, cat_clip, start):
    """A shell lets what it starts with & ignore Ctrl-C, and so what that starts in its turn."""
    with inherited(signal.SIGINT, signal.SIG_IGN):
        arguments = ("--loop", "--every", 0, "--label", "cat", "--count", 10, "--update-after", 10)
        process = start("capture", "--home", home, "--source", cat_clip, *arguments, run=AS_STARTED)
    for line in process.stderr:
        if line == "update: fine-tune\n":
            break
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=PATIENCE)
    assert (process.returncode, transaction.look(home)[0][-1].outcome) == (130, None), error


def test_an_update_that_fails_after_a_capture_is_an_error(reverie, home, cat_clip):
    arguments = ("--fast", "--every", 0, "--label", "cat", "--count", 3, "--update-after", 3)
    done = reverie("capture", "--home", home, "--source", cat_clip, *arguments)
    assert done.code == 1
    assert "at least 5 are needed" in done.err.splitlines()[-1]
    assert stored(home) == ["cat"] * 3


def test_a_stream_that_is_cut_in_mid_capture_is_waited_for_and_goes_on(home, start):
    server = MjpegServer(picture=cv2.resize(next(wander("chelsea", 1)), (256, 192)))
    process = start("capture", "--home", home, "--source", server.url, "--label", "cat", "--every", 0, "--json")
    assert json.loads(process.stdout.readline())
    server.close()
    time.sleep(0.5)
    before = len(stored(home))
    with closing(MjpegServer(port=server.port, picture=cv2.resize(next(wander("rocket", 1)), (256, 192)))):
        until(lambda: len(stored(home)) > before)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_progress_of_an_update_is_lines_and_the_result_is_the_last(home, frames_folder, start):
    arguments = ("--frames", frames_folder, "--max-minutes", "0.05", "--json", "--progress")
    process = start("update", "--home", home, *arguments, run=words(few) + RUN)
    out, _ = process.communicate(timeout=PATIENCE)
    lines = [json.loads(line) for line in out.splitlines()]
    stages = [line for line in lines if "stage" in line]
    assert list(dict.fromkeys(line["stage"] for line in stages)) == [
        "frames", "replay", "fine-tune", "synthesis", "retrain", "generative update",
    ]  # fmt: skip
    assert all(0 <= line["share"] <= 1.0001 for line in stages)
    if process.returncode == 0:
        assert lines[-1]["name"] == "0001"


def test_an_update_whose_listener_leaves_goes_on_to_its_end(home, frames_folder, start):
    arguments = ("--frames", frames_folder, "--max-minutes", "0.05", "--json", "--progress")
    process = start("update", "--home", home, *arguments, run=words(few) + RUN)
    process.stdout.readline()
    process.stdout.close()
    process.wait(timeout=PATIENCE)
    updates, _ = transaction.look(home)
    assert updates[-1].outcome in {"in service", "rejected"}

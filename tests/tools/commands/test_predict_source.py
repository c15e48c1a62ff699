"""`reverie predict --source`: every frame a line, for programs and shells, whatever generation serves."""

from __future__ import annotations

import json
import signal
from contextlib import closing

import cv2
from clips import wander
from judged import serves
from mjpeg import MjpegServer
from waiting import PATIENCE

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.home import store
from reverie.device_runtime.serving.rollback import roll_back


def test_every_frame_of_a_source_is_a_line_for_programs(reverie, home, cat_clip):
    done = reverie("predict", "--home", home, "--source", cat_clip, "--fast", "--json")
    assert (done.code, done.err) == (0, "")
    lines = [json.loads(line) for line in done.out.splitlines()]
    frames = [line for line in lines if "frame" in line]
    assert [line["frame"] for line in frames] == list(range(1, 61))
    assert [line["camera"] for line in lines if "camera" in line] == ["live", "ended"]
    for line in frames:
        assert line["probability"] == max(line["probabilities"].values())
        assert (line["generation"], line["ask"]) == ("0000", False)
        assert line["milliseconds"] > 0


def test_unsure_frames_are_marked(reverie, home, cat_clip):
    done = reverie("predict", "--home", home, "--source", cat_clip, "--fast", "--json", "--ask-below", 1)
    assert all(line["ask"] for line in map(json.loads, done.out.splitlines()) if "ask" in line)
    shown = reverie("predict", "--home", home, "--source", cat_clip, "--fast", "--ask-below", 1).out
    assert "unsure" in shown.splitlines()[0]


def test_a_new_generation_is_taken_up_in_mid_stream_and_no_frame_is_left_out(home, cat_clip, models, start):
    """A program reads the predictions while generations change."""
    with transaction.changing(home):
        store.add_generation(home, store.read_generation(home), models, serves({}))
    process = start("predict", "--home", home, "--source", cat_clip, "--fast", "--loop", "--json")
    frames, generations = [], []
    for line in process.stdout:
        values = json.loads(line)
        if "frame" not in values:
            continue
        frames.append(values["frame"])
        if values["generation"] not in generations:
            generations.append(values["generation"])
        if len(frames) == 50:
            with transaction.changing(home) as journal:
                roll_back(home, journal)
        if len(generations) == 2:
            break
    assert generations == ["0001", "0000"]
    assert frames == list(range(1, len(frames) + 1))


def test_a_reader_that_has_enough_ends_the_command_without_words(home, cat_clip, start):
    process = start("predict", "--home", home, "--source", cat_clip, "--fast", "--loop", "--json")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=PATIENCE) == 1
    assert process.stderr.read() == ""


def test_a_camera_that_is_lost_is_told_and_so_is_that_it_is_back(home, start):
    picture = cv2.resize(next(wander("chelsea", 1)), (256, 192))
    server = MjpegServer(picture=picture)
    process = start("predict", "--home", home, "--source", server.url, "--json")
    lines = map(json.loads, process.stdout)
    next(line for line in lines if "frame" in line)
    server.close()
    assert next(line["camera"] for line in lines if "camera" in line) == "lost"
    with closing(MjpegServer(port=server.port, picture=picture)):
        assert next(line["camera"] for line in lines if line.get("camera") != "lost" and "camera" in line) == "live"
        assert next(line for line in lines if "frame" in line)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_images_and_a_source_exclude_each_other(reverie, home, cat_clip, test_folder):
    for arguments in ((), (test_folder, "--source", cat_clip)):
        done = reverie("predict", "--home", home, *arguments)
        assert done.code == 2
        assert "give images or folders, or a --source, and not both" in done.err

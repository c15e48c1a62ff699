"""The terminal view in a real terminal."""

from __future__ import annotations

import re
import signal
import termios

import cv2
import pytest
from clips import wander
from mjpeg import MjpegServer
from short import enough, shorten_beside_a_camera, words
from waiting import PATIENCE, stored

from reverie.device_runtime.changes import transaction

pytest.importorskip("pyte")
from terminal import Terminal


@pytest.fixture
def terminal(home, cat_clip):
    """Start `reverie capture` in a terminal."""
    opened = []

    def begin(*arguments, command="capture", source=None, **how):
        shown = (cat_clip, "--loop") if source is None else (source,)
        opened.append(Terminal(command, "--home", home, "--source", *shown, *arguments, **how))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()


def frames(text, label):
    """How many the view says there are of a class."""
    found = re.search(rf"\d {label} +(\d+) frames", text)
    return int(found[1]) if found else 0


def keeping(terminal, least, **how):
    """A terminal in which a cat is kept again and again, once there are so many frames of it."""
    shown = terminal("--label", "cat", "--every", "0.05", **how)
    shown.until(lambda text: "cat" in text and "%" in text)
    shown.type(" ")
    shown.until(lambda text: frames(text, "cat") >= least)
    return shown


def test_classes_are_named_and_frames_are_kept_with_single_keys(terminal, home):
    shown = terminal("--every", "0.05")
    shown.until(lambda text: "sandal" in text and "%" in text)
    shown.type("n")
    shown.until(lambda text: "New class:" in text)
    shown.type("kat\x7f\x7f\x7fcat\r")
    shown.until(lambda text: "4 cat" in text)
    shown.type("\r")
    shown.until(lambda text: "kept as cat" in text)
    shown.type("2")
    shown.until(lambda text: "kept as t-shirt" in text or "not kept" in text)
    shown.type("\x1b[B")
    shown.type("\x1b[B")
    shown.type(" ")
    shown.until(lambda text: "keeping" in text)
    shown.until(lambda text: frames(text, "cat") >= 12)
    shown.type(" ")
    shown.until(lambda text: "keeping" not in text)
    shown.type("?")
    shown.until(lambda text: "choose a class" in text)
    shown.type("?")
    shown.until(lambda text: "4 cat" in text)
    shown.type("q")
    assert shown.end() == 0
    assert termios.tcgetattr(shown.slave) == shown.before
    kept = stored(home)
    assert kept.count("cat") >= 12
    assert "frames kept" in shown.text()


def test_an_update_is_started_watched_and_interrupted_with_the_view(terminal, home, tmp_path):
    shown = keeping(terminal, 10, first=words(shorten_beside_a_camera, enough, tmp_path / "never"))
    shown.type(" u")
    shown.until(lambda text: "Learning: fine-tune" in text and "left" in text and "loss" in text)
    shown.type("\x03")
    assert shown.end() == 130
    assert "go on with: reverie update --home" in shown.text().replace("\n", "")
    assert "Traceback" not in shown.text()
    assert termios.tcgetattr(shown.slave) == shown.before
    assert transaction.look(home)[0][-1].outcome is None


def test_what_cannot_be_done_is_said_and_the_view_goes_on(terminal):
    shown = terminal(columns=60, lines=20)
    shown.until(lambda text: "sandal" in text)
    shown.type("na/b\r")
    shown.until(lambda text: "cannot be a label" in text)
    shown.type("r")
    shown.until(lambda text: "y or n" in text)
    shown.type("y")
    shown.until(lambda text: "came with the bundle" in " ".join(text.split()))  # however long the path of the home is
    shown.type("q")
    assert shown.end() == 0


@pytest.mark.parametrize(("columns", "lines"), [(40, 12), (80, 24), (200, 60)])
def test_a_terminal_of_any_size_shows_it_and_may_be_resized(terminal, columns, lines):
    shown = terminal(columns=columns, lines=lines)
    shown.until(lambda text: "sandal" in text and "q leave" in text and "%" in text)
    assert ("▀" in shown.text()) == (columns > 76)
    shown.resize(90, 20)
    shown.until(lambda text: "▀" in text and "q leave" in text)
    shown.type("q")
    assert shown.end() == 0


def test_a_terminal_without_unicode_shows_it_in_ascii(terminal):
    shown = terminal(LANG="C", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    shown.until(lambda text: "sandal" in text and "#" in text)
    assert "▀" not in shown.text()
    shown.type("q")
    assert shown.end() == 0


def test_a_terminal_that_is_closed_ends_it_and_loses_nothing(terminal, home):
    shown = keeping(terminal, 5)
    shown.process.send_signal(signal.SIGHUP)
    assert shown.end() == 130
    assert len(stored(home)) >= 5


def test_a_terminal_that_is_gone_ends_it_without_a_traceback(terminal, home, tmp_path):
    """Its window is closed: nothing can be written to it any more, and its settings are gone."""
    with (tmp_path / "errors").open("w+") as errors:
        shown = terminal("--label", "cat", "--every", "0.05", errors=errors)
        shown.until(lambda text: "cat" in text and "%" in text)
        shown.type(" ")
        shown.until(lambda text: frames(text, "cat") >= 5)
        shown.hang_up()
        assert shown.process.wait(timeout=PATIENCE) in {1, 130}
        errors.seek(0)
        assert "Traceback" not in errors.read()
    assert len(stored(home)) >= 5


@pytest.mark.parametrize("command", ["capture", "predict"])
def test_a_camera_that_does_not_come_back_ends_the_view_with_the_reason(terminal, command):
    server = MjpegServer(picture=cv2.resize(next(wander("chelsea", 1)), (256, 192)))
    shown = terminal("--patience", "1", command=command, source=server.url)
    # Where a second of patience is short, it ends before anybody pulls the plug, and says the same.
    shown.until(lambda text: ("camera live" in text and "%" in text) or shown.process.poll() is not None)
    assert server.sent > 0
    server.close()
    assert shown.end() == 1
    assert "did not come back" in shown.text().replace("\n", "")


def test_a_terminal_without_colours_shows_no_picture_of_them(terminal):
    shown = terminal(NO_COLOR="1")
    shown.until(lambda text: "sandal" in text and "q leave" in text and "%" in text)
    assert "▀" not in shown.text()
    shown.type("q")
    assert shown.end() == 0


def test_predict_of_a_source_in_a_terminal_is_the_same_view(terminal):
    shown = terminal("--ask-below", "1", command="predict")
    shown.until(lambda text: "Not sure. What is this?" in text)
    shown.type("1")
    shown.until(lambda text: "kept as sandal" in text)
    shown.type("q")
    assert shown.end() == 0

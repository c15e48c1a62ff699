"""A real window on a real X server: it shows the picture, takes keys, and may be closed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from waiting import PATIENCE, stored, until

xdisplay = pytest.importorskip("Xlib.display")
event = pytest.importorskip("Xlib.protocol.event")

pytestmark = pytest.mark.slow

NEEDED = ("Xvfb", "xdotool", "import")
RUN = "from reverie.tools.cli import main; main()"
AGAIN = 10
"""Seconds after which a key is pressed again: one that comes while a window opens goes to nobody."""
HEARD = """
import cv2
waited = cv2.waitKeyEx

def heard(milliseconds):
    code = waited(milliseconds)
    if code >= 0:
        with open({file!r}, "a") as file:
            file.write("key\\n")
    return code

cv2.waitKeyEx = heard
"""
"""Notes in a file that a key has arrived: OpenCV tells of one at a time and forgets others that came meanwhile."""


@pytest.fixture(scope="module")
def windows(repository):
    """Where an OpenCV with windows is."""
    folder = repository / ".opencv-window"
    missing = [name for name in NEEDED if shutil.which(name) is None]
    missing += [] if folder.is_dir() else ["make .opencv-window"]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI installs {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian's xvfb, xdotool, imagemagick, libgl1)")
    return folder


@pytest.fixture(scope="module")
def display(windows):
    """A screen without anybody before it."""
    del windows
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield f":{process.stdout.readline().strip()}"
    process.terminate()
    with process:
        pass


@pytest.fixture
def window(windows, display, home, cat_clip, tmp_path):
    """`reverie capture` with its window open: the process, and xdotool for it, whose keys have arrived."""
    environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(windows)}
    environment.pop("WAYLAND_DISPLAY", None)
    arguments = ["capture", "--home", home, "--source", cat_clip, "--loop", "--view", "window", "--every", "0.05"]
    process = subprocess.Popen(
        [sys.executable, "-c", HEARD.format(file=str(tmp_path / "heard")) + RUN, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def arrived():
        file = tmp_path / "heard"
        return len(file.read_text("utf-8").splitlines()) if file.exists() else 0

    def do(*what):
        before, end = arrived(), time.monotonic() + PATIENCE
        if what[0] == "key":  # with no window manager, the focus may be nowhere once a window before was closed
            what = ("search", "--name", "^Reverie$", "windowfocus", *what)
        while True:
            done = subprocess.run(
                ["xdotool", *what], env=environment, capture_output=True, text=True, check=False
            ).stdout
            heard = time.monotonic() + AGAIN
            while "key" in what and arrived() == before and time.monotonic() < heard:
                time.sleep(0.02)
            if "key" not in what or arrived() > before:
                return done
            assert time.monotonic() < end

    end = time.monotonic() + PATIENCE
    while not do("search", "--name", "^Reverie$"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)
    yield process, do, environment
    process.kill()
    with process:
        pass


def until_a_photograph(window, shot):
    """Wait until one is in the window; with no window manager, Qt may miss that it is shown, and paint nothing."""
    _, do, environment = window
    end = time.monotonic() + PATIENCE
    while True:
        again = time.monotonic() + AGAIN
        while time.monotonic() < again:
            if is_a_photograph(environment, shot):
                return
            time.sleep(0.1)
        assert time.monotonic() < end
        number = do("search", "--name", "^Reverie$").split()[0]
        do("windowunmap", number, "windowmap", number)


def is_a_photograph(environment, shot):
    """Whether the screen, which is saved as `shot`, shows more than an empty window."""
    subprocess.run(["import", "-window", "root", shot], env=environment, check=True, timeout=PATIENCE)
    return len(np.unique(cv2.imread(str(shot)).reshape(-1, 3), axis=0)) > 1000


def press_close(display, number):
    """What a window manager sends when somebody presses the X of a window."""
    server = xdisplay.Display(display)
    window = server.create_resource_object("window", number)
    delete = [server.intern_atom("WM_DELETE_WINDOW"), 0, 0, 0, 0]
    message = event.ClientMessage(window=window, client_type=server.intern_atom("WM_PROTOCOLS"), data=(32, delete))
    window.send_event(message)
    server.sync()  # an X server that is busy drops what a client that has left still had to say
    server.close()


def test_the_window_shows_the_picture_and_takes_the_same_keys(window, home, tmp_path):
    process, do, _ = window
    until_a_photograph(window, tmp_path / "shot.png")
    do("key", "n")
    for letter in "cat":
        do("key", letter)
    do("key", "Return")
    do("key", "Return")
    until(lambda: stored(home) == ["cat"])
    do("key", "space")
    until(lambda: len(stored(home)) > 5)
    do("key", "space")
    do("key", "q")
    assert process.wait(timeout=PATIENCE) == 0
    assert "frames kept" in process.stdout.read()


def test_a_window_that_is_closed_ends_the_command(window, home, tmp_path):
    process, do, environment = window
    until_a_photograph(window, tmp_path / "shot.png")
    do("key", "2")
    until(lambda: stored(home) == ["t-shirt"])
    press_close(environment["DISPLAY"], int(do("search", "--name", "^Reverie$").split()[0]))
    assert process.wait(timeout=PATIENCE) == 0
    assert "1 frames kept" in process.stdout.read()


def test_an_opencv_without_windows_says_what_to_install(reverie, home, cat_clip):
    done = reverie("capture", "--home", home, "--source", cat_clip, "--view", "window")
    assert (done.code, done.out) == (1, "")
    assert "pip install opencv-python" in done.err


def test_a_display_that_is_not_there_is_one_line_and_no_abort(windows, home, cat_clip):
    for display in (":77", "", "nonsense"):
        environment = {**os.environ, "DISPLAY": display, "PYTHONPATH": str(windows), "WAYLAND_DISPLAY": ""}
        arguments = ["capture", "--home", home, "--source", cat_clip, "--view", "window"]
        command = [sys.executable, "-c", RUN, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 1
        assert done.stderr == "reverie: there is no display to open a window on: set DISPLAY, or use --view terminal\n"

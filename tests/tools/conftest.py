"""Clips for tests of what a camera shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from clips import wander, write_clip
from served import RUN, Served, chromium
from waiting import until

from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.changes import installation
from reverie.device_runtime.frames import frame_store
from reverie.tools.views.session import Session


@pytest.fixture(scope="session")
def cat_clip(tmp_path_factory):
    """60 frames of a cat, at 25 a second."""
    return write_clip(tmp_path_factory.mktemp("clips") / "cat.avi", wander("chelsea", 60))


@pytest.fixture(scope="session")
def rocket_clip(tmp_path_factory):
    """60 frames of a rocket."""
    return write_clip(tmp_path_factory.mktemp("clips") / "rocket.avi", wander("rocket", 60))


@pytest.fixture(scope="session")
def driver():
    """A browser; one that is missing where everything is tested is a failure."""
    if not chromium() and not os.environ.get("CI"):
        pytest.skip("needs Debian's chromium and chromium-driver")
    from browser import start

    started = start()
    yield started
    started.quit()


@pytest.fixture
def before():
    """Code that servers run first; a test parametrizes it for shorter updates."""
    return ""


@pytest.fixture
def serve(home, before):
    """Start the server of a home, and end it."""
    started = []

    def begin(*arguments, at=home):
        started.append(Served("--home", at, *arguments, before=before))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.end()


@pytest.fixture
def page(driver, serve, cat_clip):
    """A page that shows a cat; whatever the browser complained about is a failure."""
    server = serve("--source", cat_clip, "--loop", "--every", "0.05")
    driver.get_log("browser")  # what pages of servers before said when these had ended
    driver.get(server.url)
    from browser import Page

    yield Page(driver, server)
    driver.get("about:blank")
    severe = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    # Refusals are answered by 409; a page of before may have asked once more for its server, which has ended.
    assert [told for told in severe if "409" not in told and f":{server.port}/" in told] == []


@pytest.fixture
def doubted(statistics_bundle, test_folder, tmp_path):
    """A home that holds trousers under another name: it serves trousers, sandals and t-shirts behind a backbone."""
    home = tmp_path / "doubted"
    installation.install(statistics_bundle, home)
    with frame_store.opened(home) as frames:
        for image in sorted((test_folder / "trouser").iterdir()):
            frames.add("pants", image.read_bytes())
    return home


@pytest.fixture(autouse=True)
def _signals():
    """Commands of this process take them over."""
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for name, handler in before.items():
        signal.signal(name, handler)


@pytest.fixture
def start():
    """Start a command in a process of its own; what is left of it is ended."""
    started = []

    def begin(*arguments, run=RUN):
        command = [sys.executable, "-c", run, *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        with process:
            pass


@pytest.fixture
def at_camera(home):
    """Open sessions of a home, which are closed at the end."""
    opened = []

    def begin(source, *, fast=False, loop=True, patience=5.0, at=home, **options):
        camera = Camera(str(source), fast=fast, loop=loop, patience=patience)
        opened.append(Session(at, camera, **options))
        return opened[-1]

    yield begin
    for session in opened:
        session.close()


@pytest.fixture
def session(at_camera, cat_clip):
    """A cat that goes on and on."""
    started = at_camera(cat_clip, every=0)
    until(lambda: started.snapshot.moment is not None)
    return started

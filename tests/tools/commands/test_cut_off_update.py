"""An update that is stopped, as people and programs see it: it says how to go on, and does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from served import RUN, inherited
from waiting import PATIENCE

from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.home import layout, store
from reverie.device_runtime.home.layout import locked

pytestmark = pytest.mark.usefixtures("anything_serves", "few_steps")


@pytest.fixture
def started(home, frames_folder):
    """A real update with steps enough to be stopped in."""
    command = [sys.executable, "-c", RUN, "update", "--home", str(home), "--frames", str(frames_folder)]
    with inherited(signal.SIGHUP, signal.SIG_DFL):  # what runs this may ignore it
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        updates, _ = transaction.look(home)
        if updates and updates[-1].stage:  # its first stage is saved
            break
        time.sleep(0.05)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda s: s.name)
def test_an_update_that_is_stopped_says_how_to_go_on_and_status_knows_it(reverie, home, started, sign):
    running = json.loads(reverie("status", "--home", home, "--json").out)["update"]
    assert (running["running"], running["outcome"]) == (True, None)
    started.send_signal(sign)
    _, error = started.communicate()
    assert started.returncode == 130
    assert error.splitlines()[-1] == f"interrupted; go on with: reverie update --home {home}"
    assert "Traceback" not in error
    update = json.loads(reverie("status", "--home", home, "--json").out)["update"]
    assert (update["running"], update["attempts"], update["generation"]) == (False, 0, "0001")
    shown = reverie("status", "--home", home).out
    assert "last update: cut off, saved in " in shown
    assert f"go on with: reverie update --home {home}" in shown
    assert store.current(home) == "0000"


def test_two_updates_at_once_are_told_apart_in_one_line(reverie, home, started, frames_folder):
    for arguments in (("--frames", frames_folder), ()):
        done = reverie("update", "--home", home, *arguments)
        assert (done.code, done.out) == (1, "")
        line = f"reverie: another command is changing {home}: wait until it is done, or stop it\n"
        assert done.err == line
    assert started.poll() is None
    assert "last update: running since" in reverie("status", "--home", home).out


def test_a_lock_is_released_by_a_crash_and_held_only_while_a_command_changes_the_home(home, started):
    assert layout.PATIENCE > 0
    started.kill()
    started.wait()
    with locked(home, patience=0):
        pass


@pytest.fixture
def stop(reverie, frames_folder, monkeypatch):
    """Begin an update of a home that is stopped before its first step."""

    def interrupt(*_):
        raise KeyboardInterrupt

    def begin(home):
        with monkeypatch.context() as patch:
            patch.setattr(transaction, "run_update", interrupt)
            done = reverie("update", "--home", home, "--frames", frames_folder, "--max-minutes", "0.00001")
        assert done.code == 130
        return home

    return begin


@pytest.fixture
def stopped(home, stop):
    return stop(home)


def test_going_on_needs_no_frames_and_ends_as_any_update_does(reverie, stopped):
    done = reverie("update", "--home", stopped, "--json")
    assert done.code == 0, done
    assert json.loads(done.out)["name"] == store.current(stopped) == "0001"
    shown = reverie("status", "--home", stopped).out
    assert "last update: in service since" in shown


def test_the_same_frames_and_options_go_on_and_others_are_refused(reverie, stopped, frames_folder, test_folder, tree):
    with transaction.changing(stopped):
        pass  # what is left over goes first
    before = tree(stopped)
    for frames, options in ((frames_folder, ()), (test_folder, ("--max-minutes", "0.00001"))):
        done = reverie("update", "--home", stopped, "--frames", frames, *options)
        assert done.code == 1
        assert "other frames or options was cut off" in done.err
        assert len(done.err.splitlines()) == 1
        assert tree(stopped) == before
    done = reverie("update", "--home", stopped, "--frames", frames_folder, "--max-minutes", "0.00001")
    assert done.code == 0, done
    assert store.current(stopped) == "0001"


def test_restart_drops_what_was_cut_off(reverie, stopped):
    done = reverie("update", "--home", stopped, "--restart")
    assert (done.code, done.out) == (0, f"{stopped} has no update in progress any more\n")
    assert "last update: dropped" in reverie("status", "--home", stopped).out
    assert not (stopped / "update").exists()
    done = reverie("update", "--home", stopped, "--restart")
    assert (done.code, done.out) == (0, f"{stopped} had no update in progress to drop\n")
    assert "would say nothing" in reverie("update", "--home", stopped, "--restart", "--keep-frames").err
    done = reverie("update", "--home", stopped)
    assert (done.code, done.err) == (
        1,
        f"reverie: {stopped} has no update in progress: begin one with --frames, or reverie add frames first\n",
    )


def test_restart_with_frames_begins_a_new_one(reverie, stopped, frames_folder):
    arguments = ("--frames", frames_folder, "--restart", "--seed", "4", "--max-minutes", "0.00001")
    assert reverie("update", "--home", stopped, *arguments).code == 0
    updates, _ = transaction.look(stopped)
    assert [update.outcome for update in updates] == ["dropped", "in service"]


def test_an_update_that_keeps_failing_is_given_up_in_one_line(reverie, stopped, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(transaction, "run_update", fail)
    for _ in range(3):
        with transaction.changing(stopped) as journal, pytest.raises(MemoryError):
            transaction.go_on(stopped, journal)
    done = reverie("update", "--home", stopped)
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "is given up because it failed 3 times at its start" in done.err
    assert "last update: given up" in reverie("status", "--home", stopped).out


def test_options_of_a_new_update_need_its_frames(reverie, stopped):
    done = reverie("update", "--home", stopped, "--literal")
    assert done.code == 2
    assert "need --frames" in done.err


def test_behind_a_backbone_the_features_are_stored_and_the_report_counts_how_long_they_took(
    reverie, stop, backbone_bundle, tmp_path, monkeypatch
):
    installation.install(backbone_bundle, tmp_path / "home")
    home = stop(tmp_path / "home")
    (stored,) = (home / "update").glob("frames-*.npz")
    with np.load(stored) as arrays:
        images, *shape = arrays["shape"].tolist()
        seconds = arrays["monitor"][1]
    assert shape == [64]
    monkeypatch.setattr(InputMaker, "_of", None)
    done = reverie("update", "--home", home, "--json")
    assert done.code == 0, done
    reading = json.loads(done.out)["report"]["stages"]["frames"]
    assert reading["steps"] == images
    assert reading["seconds"] > seconds > 0

"""How a session and its update end: stopped, killed, not to be read, or with a command that nobody hears any more."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from served import inherited
from waiting import PATIENCE, stored, until

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.errors import CameraError, UpdateError
from reverie.tools.region import Region
from reverie.tools.views import background
from reverie.tools.views.background import BackgroundUpdate

pytestmark = pytest.mark.slow


def test_an_update_that_cannot_begin_says_why_and_nothing_is_lost(session):
    session.hold("cat", count=2)
    until(lambda: session.snapshot.holding is None)
    session.start_update()
    until(lambda: session.snapshot.update.outcome is not None)
    update = session.snapshot.update
    assert update.outcome == "failed"
    assert "at least 5 are needed" in update.says
    assert session.snapshot.counts == {"cat": 2}


def test_an_update_begins_after_as_many_frames_again_and_not_at_every_frame_until_then(at_camera, cat_clip):
    session = at_camera(cat_clip, every=0, update_after=3)

    def ended():
        now = session.snapshot.update
        return now is not None and now.outcome == "failed"

    session.hold("cat", count=3)
    until(ended)
    first = session._updates.update
    session.purge()
    session.hold("cat", count=2)
    until(lambda: session.snapshot.counts == {"cat": 2})
    session.settle()
    assert session._updates.update is first
    session.hold("cat", count=1)
    until(lambda: session._updates.update is not first)
    until(ended)


def test_a_session_that_is_closed_stops_its_update_which_can_go_on(at_camera, cat_clip, home):
    session = at_camera(cat_clip, every=0, update_after=8)
    session.hold("cat", count=8)
    until(lambda: (now := session.snapshot.update) is not None and now.stage == "fine-tune")
    session.close()
    assert session.snapshot.update.outcome == "stopped"
    updates, busy = transaction.look(home)
    assert (updates[-1].outcome, updates[-1].attempts, busy) == (None, 0, False)
    again = at_camera(cat_clip, update_options=("--probation", "50"))  # which are not those of the one that goes on
    again.start_update()
    until(lambda: (now := again.snapshot.update).stage != "starting" or now.outcome is not None)
    assert again.snapshot.update.outcome is None


def test_an_update_that_does_not_end_by_itself_is_killed_and_can_go_on(at_camera, cat_clip, home, monkeypatch):
    monkeypatch.setattr(background, "PATIENCE", 0.5)
    session = at_camera(cat_clip, every=0, update_after=8)
    session.hold("cat", count=8)
    until(lambda: (now := session.snapshot.update) is not None and now.stage == "fine-tune")
    session._updates.update._process.send_signal(signal.SIGSTOP)
    session.close()
    update = session.snapshot.update
    assert (update.outcome, update.says) == ("stopped", "ended by SIGKILL; nothing was changed")
    again = BackgroundUpdate(home)
    until(lambda: again.state.stage != "starting")
    assert again.stop().outcome == "stopped"


@pytest.mark.parametrize(("nicer", "its"), [(0, background.NICENESS), (19, 19)])
def test_an_update_steps_back_for_who_started_it_and_no_less_than_that_one_does(nicer, its, home):
    code = (
        "import os, pathlib, sys; from reverie.tools.views.background import BackgroundUpdate; "
        "os.nice(int(sys.argv[2])); update = BackgroundUpdate(pathlib.Path(sys.argv[1])); "
        "print(os.getpriority(os.PRIO_PROCESS, update._process.pid)); update.stop()"
    )
    told = subprocess.run([sys.executable, "-c", code, home, str(nicer)], capture_output=True, text=True, check=True)
    assert told.stdout == f"{its}\n"


def test_an_update_imports_nothing_that_lies_about_where_it_is_started(home, tmp_path, monkeypatch):
    for name in ("click", "random", "reverie"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('somebody else')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ended = BackgroundUpdate(home).wait()
    assert (ended.outcome, "reverie add" in ended.says) == ("failed", True)


def test_an_update_that_cannot_be_started_is_told_in_words(session, monkeypatch):
    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(background.subprocess, "Popen", refuse)
        with pytest.raises(UpdateError, match=r"cannot start a process for the update \(Cannot allocate memory\)"):
            session.start_update()


def test_what_somebody_saw_is_what_is_accepted_or_left(session):
    for act in (session.accept, lambda seen: session.roll_back("a test", seen)):
        with pytest.raises(UpdateError, match="generation 0000 serves by now, and not 0007"):
            act("0007")


def test_a_session_whose_end_is_interrupted_stops_its_update_all_the_same(at_camera, cat_clip, monkeypatch):
    session = at_camera(cat_clip, every=0, update_after=8)
    session.hold("cat", count=8)
    until(lambda: (now := session.snapshot.update) is not None and now.stage == "fine-tune")

    def interrupted():
        raise KeyboardInterrupt

    close = session._camera.close
    monkeypatch.setattr(session._camera, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.close()
    assert session.snapshot.update.outcome == "stopped"
    close()
    session._keeper.close()


def test_an_update_that_is_stopped_before_it_began_says_nothing_of_its_insides(home):
    for _ in range(3):
        ended = BackgroundUpdate(home).stop()
        assert ended.outcome == "stopped"
        assert "KeyboardInterrupt" not in ended.says


def test_an_update_that_is_killed_beside_the_camera_has_failed_and_says_how(home):
    update = BackgroundUpdate(home)
    update._process.kill()
    ended = update.wait()
    assert (ended.outcome, ended.says) == ("failed", "ended by SIGKILL; nothing was changed")


def test_an_update_whose_end_cannot_be_read_has_ended_all_the_same(home):
    update = BackgroundUpdate(home)
    (home / "journal.db").write_bytes(b"no journal" * 1000)
    ended = update.wait()
    assert ended.outcome == "failed"
    assert "journal.db" in ended.says


def test_a_session_that_is_closed_takes_nothing_more_and_says_so(session):
    session.close()
    session.close()
    with pytest.raises(CameraError, match="start again"):
        session.keep("cat")
    for does in (session.settle, session.frames, session.start_update):
        with pytest.raises(CameraError, match="start again"):
            does()
    assert session.snapshot.trouble == ""


def test_a_region_that_can_be_predicted_ends_the_trouble_with_the_whole_picture(
    at_camera, cat_clip, repository, tmp_path, reverie
):
    home = tmp_path / "exact"
    assert reverie("install", repository / "models/fashion-demo/bundle", "--home", home).code == 0
    session = at_camera(cat_clip, at=home)
    until(lambda: "the solver takes 28x28" in session.snapshot.trouble)
    session.look_at(Region(0, 0, 28, 28))
    until(lambda: session.snapshot.trouble == "" and session.snapshot.moment is not None)


def test_frames_of_another_label_do_not_count_for_the_one_that_is_held(session, home):
    session.hold("cat", count=5)
    for _ in range(3):
        session.keep("rocket")
    until(lambda: session.snapshot.holding is None)
    session.settle()
    assert stored(home).count("cat") == 5


def test_a_reader_that_has_enough_ends_the_capture_without_words(home, cat_clip, start):
    arguments = ("--loop", "--every", 0, "--label", "cat", "--count", 100, "--json")
    process = start("capture", "--home", home, "--source", cat_clip, *arguments)
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(timeout=PATIENCE), process.stderr.read()) == (1, "")
    assert 1 <= len(stored(home)) < 100


def test_a_capture_under_nohup_outlives_its_terminal(home, cat_clip, start):
    with inherited(signal.SIGHUP, signal.SIG_IGN):
        process = start(
            "capture", "--home", home, "--source", cat_clip, "--loop", "--every", 0, "--label", "cat", "--json"
        )
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    for _ in range(3):
        assert process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130

"""How an update begins, how often it is tried, and how it ends."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from crash_support import Killed, begin, cut_after, entries, go_on, until, weights

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.errors import TrainingError, UpdateError
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.layout import UPDATE
from reverie.device_runtime.method.labelled import Frames
from reverie.device_runtime.method.monitor import StageRecord


def test_after_three_failed_attempts_at_the_same_point_the_update_is_given_up(cut, journal):
    for attempt in range(1, 4):
        cut_after(cut, "fine-tune", 3)
        assert journal.in_progress().attempts == attempt
    with pytest.raises(UpdateError, match="given up because it failed 3 times in fine-tune after step 2") as given_up:
        go_on(cut)
    assert "\n" not in str(given_up.value)
    (ended,) = journal.updates()
    assert (ended.outcome, ended.message) == ("given up", "it failed 3 times in fine-tune after step 2")
    assert journal.in_progress() is None
    assert store.current(cut) == "0000"
    assert not (cut / UPDATE).exists()


def test_attempts_that_get_further_each_time_are_not_given_up(cut, uncut, journal):
    for stage, step in [("fine-tune", 2), ("fine-tune", 3), ("synthesis", 1), ("synthesis", 2), ("retrain", 1)]:
        cut_after(cut, stage, step)
        assert journal.in_progress().attempts == 1
    go_on(cut)
    assert weights(cut) == uncut.weights


def test_being_stopped_on_purpose_is_no_failed_attempt(cut, uncut, journal):
    def stop(_now):
        raise KeyboardInterrupt

    for _ in range(5):
        with transaction.changing(cut) as opened, pytest.raises(KeyboardInterrupt):
            transaction.go_on(cut, opened, stop)
    assert journal.in_progress().attempts == 0
    go_on(cut)
    assert weights(cut) == uncut.weights


def test_an_attempt_is_counted_before_it_is_made(cut, journal, monkeypatch):
    def die(*_):
        assert journal.in_progress().attempts == 1
        raise Killed

    monkeypatch.setattr(transaction, "run_update", die)
    with pytest.raises(Killed):
        go_on(cut)


def test_an_update_that_would_fail_again_is_ended_at_once(home, frames, tiny):
    begin(home, frames, replace(tiny, fine_tune=replace(tiny.fine_tune, learning_rate=1e30)))
    with pytest.raises(TrainingError):
        go_on(home)
    with transaction.changing(home) as journal:
        (ended,) = journal.updates()
    assert ended.outcome == "failed"
    assert "the loss of" in ended.message
    assert not (home / UPDATE).exists()


def test_another_update_cannot_begin_until_the_one_cut_off_is_finished_or_dropped(cut, frames, tiny, uncut):
    cut_after(cut, "synthesis", 1)
    begin(cut, frames, tiny)  # the same: it is the one to go on with
    other = Frames(frames.inputs + 1, frames.labels, frames.classes)
    for other_frames, config in ((other, tiny), (frames, replace(tiny, seed=1))):
        with pytest.raises(UpdateError, match="with other frames or options was cut off"):
            begin(cut, other_frames, config)
    with transaction.changing(cut) as journal:
        transaction.drop(cut, journal)
        assert journal.updates()[-1].outcome == "dropped"
    assert "generations/0001" not in entries(cut)
    begin(cut, other, tiny)
    go_on(cut)
    assert weights(cut) != uncut.weights


def test_an_update_does_not_go_on_from_another_generation_than_it_began_from(cut):
    shutil.copytree(cut / "generations/0000", cut / "generations/0007")
    store.put_in_service(cut, "0007")
    with pytest.raises(UpdateError, match="began from generation 0000 but 0007 is in service"):
        go_on(cut)


def test_cut_off_between_the_pointer_and_the_journal_the_next_update_finishes_it_first(cut, frames, tiny):
    with disk.watched(until(lambda op: op.kind == "commit" and store.current(cut) == "0001")), pytest.raises(Killed):
        go_on(cut)
    with transaction.changing(cut) as journal:
        assert journal.in_progress() is not None
        transaction.begin(cut, journal, frames, replace(tiny, seed=5), StageRecord())
        assert [update.outcome for update in journal.updates()] == ["in service", None]
        assert transaction.go_on(cut, journal).name == "0002"


def test_an_update_that_serves_already_is_not_dropped(cut, uncut):
    with disk.watched(until(lambda op: op.kind == "commit" and store.current(cut) == "0001")), pytest.raises(Killed):
        go_on(cut)
    with transaction.changing(cut) as journal:
        transaction.drop(cut, journal)
        assert [update.outcome for update in journal.updates()] == ["in service"]
    assert weights(cut) == uncut.weights


def test_only_the_three_newest_generations_are_kept(home, frames, tiny):
    for seed in range(4):
        begin(home, frames, replace(tiny, seed=seed))
        go_on(home, save_seconds=1e9)
    assert store.generations(home) == ["0002", "0003", "0004"]

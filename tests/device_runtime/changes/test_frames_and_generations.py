"""A stored frame goes with the generation that learnt it, and one that was not learnt stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reverie.device_runtime.changes import gathering, purge, transaction
from reverie.device_runtime.changes.verification import verify_home
from reverie.device_runtime.config import IntakeConfig
from reverie.device_runtime.errors import FramesError, StorageError
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.frames.gate import Gate
from reverie.device_runtime.home import store
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.serving import probation, rollback
from reverie.device_runtime.serving.rollback import end_probation


@pytest.fixture
def learn(quick):
    """Learn what is stored, on probation; `listen` hears of every step."""
    config = replace(quick, promotion=replace(quick.promotion, probation=100))

    def run(home, listen=None):
        with transaction.changing(home) as journal:
            gathering.begin(home, journal, None, config)
            return transaction.go_on(home, journal, listen)

    return run


@pytest.fixture
def to_learn():
    def numbers(home):
        with frame_store.opened(home) as frames:
            return frames.numbers_to_learn()

    return numbers


@pytest.fixture
def offer(pictures):
    """Store the frames of every label from the first number to the last."""

    def run(home, first, last):
        with frame_store.opened(home) as frames:
            gate = Gate(frames, IntakeConfig())
            for label, contents in pictures.items():
                assert {gate.offer(label, content, label) for content in contents[first:last]} == {None}

    return run


def test_a_rollback_that_the_disk_refuses_leaves_the_frames_of_the_generation_in_service(
    home, fill, learn, kept, monkeypatch
):
    fill(home)
    learn(home)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, transaction.changing(home) as journal:
        patched.setattr(store, "put_in_service", full)
        with pytest.raises(StorageError, match="no space left"):
            rollback.roll_back(home, journal)
    with transaction.changing(home):
        assert probation.read(home, "0001").on_probation
    assert len(kept(home)) == 16
    assert frame_store.counts(home) == {"to_learn": 0, "learnt": 16, "quarantined": 0}


def test_a_second_update_on_probation_does_not_learn_the_frames_of_the_first_again(home, fill, offer, learn, to_learn):
    fill(home)
    learn(home)
    offer(home, 8, 16)
    assert len(to_learn(home)) == 16
    learn(home)
    assert to_learn(home) == []
    with frame_store.opened(home) as frames:
        assert (len(frames.stored()), frames.being_learnt()) == (32, False)
    with transaction.changing(home) as journal:
        end_probation(home, journal, accepted=True)
    with frame_store.opened(home) as frames:
        assert frames.stored() == []


def test_back_to_the_first_of_two_updates_only_the_frames_of_the_second_are_to_be_learnt_again(
    home, fill, offer, learn, to_learn
):
    fill(home)
    learn(home)
    offer(home, 8, 16)
    second = to_learn(home)
    learn(home)
    with transaction.changing(home) as journal:
        rollback.roll_back(home, journal)
    assert to_learn(home) == second
    with frame_store.opened(home) as frames:
        assert [frame.id for frame in frames.stored()] == second


def test_back_before_both_updates_all_frames_are_to_be_learnt_again(home, fill, offer, learn, to_learn):
    fill(home)
    learn(home)
    offer(home, 8, 16)
    learn(home)
    with transaction.changing(home) as journal:
        rollback.roll_back(home, journal, "0000")
    assert len(to_learn(home)) == 32


@pytest.mark.parametrize("when", ["while it begins", "while it runs", "on its probation"])
def test_a_frame_that_is_released_meanwhile_is_learnt_by_the_next_update(
    home, fill, learn, to_learn, pictures, when, monkeypatch
):
    fill(home)
    label = next(iter(pictures))
    with frame_store.opened(home) as frames:
        number = frames.add(label, pictures[label][20], "blurred").id

    def release(*_, **__):
        with frame_store.opened(home) as frames:
            frames.release(number)

    def listen(now):
        if when == "while it runs" and (now.stage, now.step) == ("fine-tune", 2):
            release()

    begin = transaction.begin
    if when == "while it begins":
        monkeypatch.setattr(transaction, "begin", lambda *args: (release(), begin(*args)))
    learn(home, listen)
    if when == "on its probation":
        release()
    assert to_learn(home) == [number]
    with transaction.changing(home) as journal:
        end_probation(home, journal, accepted=True)
    with frame_store.opened(home) as frames:
        assert [frame.id for frame in frames.stored()] == [number]


@pytest.mark.parametrize("error", [StorageError("no space left"), KeyboardInterrupt()], ids=["full", "stopped"])
def test_an_update_that_could_not_begin_leaves_nothing_behind(box, fill, learn, error, monkeypatch):
    fill(box)

    def refuse(*_, **__):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "begin", refuse)
        with pytest.raises(type(error)):
            learn(box)
    with transaction.changing(box) as journal:
        assert journal.checkpoint_files() == {}
        purge.purge(box, journal, purge.Scope())
    verify_home(box)
    fill(box, 4)  # in an encrypted home with a new key


def test_a_damaged_frame_stays_and_hinders_no_other(box, fill, offer, learn, kept, to_learn):
    fill(box)
    path = min(path for path in (box / "frames").rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with frame_store.opened(box) as frames:
        [damaged] = [frame for frame in frames.stored() if box / frame.file == path]
        with pytest.raises(FramesError, match=r"was (damaged|altered)"):
            frames.content(damaged)
    offer(box, 8, 10)
    learn(box)
    assert to_learn(box) == [damaged.id]
    assert all(reason is None for _, reason in kept(box))


def test_an_update_whose_report_was_damaged_before_its_end_was_noted_still_ends(home, fill, learn, monkeypatch):
    fill(home)

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(transaction, "finish", cut)
        with pytest.raises(KeyboardInterrupt):
            learn(home)
    (home / "generations/0001/report.json").write_text("{", encoding="utf-8")
    with transaction.changing(home) as journal:
        assert transaction.go_on(home, journal).name == store.current(home) == "0001"
        assert journal.updates()[-1].outcome == "in service"

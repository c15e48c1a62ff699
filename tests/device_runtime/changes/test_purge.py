"""Frames that were purged are gone, and frames that are sealed can be read with their key alone."""

from __future__ import annotations

from contextlib import closing

import pytest

from reverie.device_runtime.changes import installation, purge, transaction
from reverie.device_runtime.errors import FramesError, HomeError
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.home import sealing, store
from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.home.layout import UPDATE


def pixels_left(home, contents):
    """Files of a home in which an image file, or the pixels of one, can be found."""
    return [
        path
        for path in home.rglob("*")
        if path.is_file() and any(content[40:] in path.read_bytes() for content in contents)
    ]


def test_after_a_purge_of_everything_nothing_of_the_pixels_is_left_and_the_box_goes_on(
    box, fill, begin, update, pictures, frames, kept, events
):
    fill(box)
    label = next(iter(pictures))
    with frame_store.opened(box) as opened:
        opened.add(label, pictures[label][30], "blurred")
    begin(box)
    looked_for = [content for contents in pictures.values() for content in contents]
    looked_for += [frames.inputs[at].tobytes() for at in range(len(frames.inputs))]
    encrypted = sealing.key_path(box) is not None
    assert bool(pixels_left(box, looked_for)) != encrypted
    sealed = [path.read_bytes() for path in box.rglob("*.sealed")]
    key = sealing.reading_key(box)
    with transaction.changing(box) as journal:
        gone = purge.purge(box, journal, purge.Scope())
    assert gone == {"scope": "all", "stored": 16, "quarantined": 1, "update": True, "key": encrypted}
    assert pixels_left(box, looked_for) == []
    assert kept(box) == []
    assert not any(p.is_file() for name in ("frames", "quarantine", UPDATE) for p in (box / name).rglob("*"))
    assert events(box)[-1] == ("purged", gone)
    if encrypted:
        assert len(sealed) == 17
        assert not (box / "key").exists()
        assert pixels_left(box, [key.hex().encode() * 3]) == []
    fill(box)
    assert sealing.reading_key(box) != key or not encrypted
    update(box)


@pytest.mark.parametrize("held", [True, False], ids=["held by the update", "not held"])
def test_a_purge_of_a_label_leaves_the_others_and_drops_an_update_that_holds_it(box, fill, begin, pictures, held, kept):
    first, second = pictures
    fill(box)
    if held:
        begin(box)
    with frame_store.opened(box) as frames:
        frames.add("cup", pictures[first][30], "blurred")
    with transaction.changing(box) as journal:
        gone = purge.purge(box, journal, purge.Scope(label=first))
        assert (gone["stored"], gone["quarantined"], gone["update"], gone["key"]) == (8, 0, held, False)
        assert (journal.in_progress() is None) or not held
    assert kept(box) == [(second, None)] * 8 + [("cup", "blurred")]
    with transaction.changing(box) as journal:
        assert purge.purge(box, journal, purge.Scope(label=first))["stored"] == 0


def test_a_purge_by_time_goes_by_when_frames_came(box, fill, begin, kept):
    fill(box)
    with closing(Journal(box)) as journal, journal.changes() as db:
        db.execute("UPDATE frames SET added = '2020-01-01T00:00:00+00:00' WHERE id <= 8")
    begin(box)
    with transaction.changing(box) as journal:
        assert purge.purge(box, journal, purge.Scope(before="2019-01-01"))["stored"] == 0
        assert journal.in_progress() is not None
        gone = purge.purge(box, journal, purge.Scope(before="2021-01-01"))
    assert (gone["stored"], gone["update"]) == (8, True)
    assert len(kept(box)) == 8


def test_an_update_of_an_encrypted_home_resumes_to_identical_weights_and_needs_its_key(
    bundle, home, tmp_path, fill, begin, same
):
    sealed = tmp_path / "sealed"
    installation.install(bundle, sealed, sealing_key="key")
    results = []
    for box in (home, sealed):
        fill(box)
        begin(box)
    key = (sealed / "key").read_bytes()
    (sealed / "key").unlink()
    with transaction.changing(sealed) as journal, pytest.raises(HomeError, match="put back the key"):
        transaction.go_on(sealed, journal)
    (sealed / "key").write_bytes(key[::-1].strip() + b"\n")
    with transaction.changing(sealed) as journal, pytest.raises(HomeError, match="sealed with another key"):
        transaction.go_on(sealed, journal)
    (sealed / "key").write_bytes(key)

    def cut(now):
        if (now.stage, now.step) == ("retrain", 2):
            raise KeyboardInterrupt

    with transaction.changing(sealed) as journal:
        with pytest.raises(KeyboardInterrupt):
            transaction.go_on(sealed, journal, cut, save_seconds=0.0)
        names = journal.checkpoint_files()
        assert all((sealed / UPDATE / name).read_bytes().startswith(sealing.SIGN) for name in names)
        assert Checkpoints(sealed / UPDATE, journal).load("fine-tune") is not None
    for box in (home, sealed):
        with transaction.changing(box) as journal:
            transaction.go_on(box, journal)
        results.append(store.load_models(box, store.read_generation(box)))
    assert all(same(getattr(results[0], n), getattr(results[1], n)) for n in ("solver", "generator", "discriminator"))


@pytest.mark.parametrize("scope", [purge.Scope(), purge.Scope(label="bag")], ids=["all", "label"])
def test_frames_can_be_purged_when_their_key_is_gone(bundle, tmp_path, fill, begin, scope, kept):
    home = tmp_path / "home"
    installation.install(bundle, home, sealing_key="key")
    fill(home)
    begin(home)
    (home / "key").unlink()
    with pytest.raises(HomeError, match="purge --all"):
        fill(home)
    with transaction.changing(home) as journal:
        assert purge.purge(home, journal, scope)["update"]
    assert len(kept(home)) == (0 if scope.label is None else 8)
    if scope.label is None:
        fill(home)


def test_sealed_frames_that_were_swapped_are_told(bundle, tmp_path, fill):
    installation.install(bundle, tmp_path / "home", sealing_key="key")
    fill(tmp_path / "home", 2)
    with frame_store.opened(tmp_path / "home") as frames:
        first, second = (tmp_path / "home" / frame.file for frame in frames.stored()[:2])
        second.write_bytes(first.read_bytes())
        with pytest.raises(FramesError, match="was altered or sealed with another key"):
            frames.content(frames.stored()[1])

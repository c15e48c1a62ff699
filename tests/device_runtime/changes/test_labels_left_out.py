"""A label that was not learnt keeps no other from serving: the update begins anew without it, whatever cuts it off."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.home import store
from reverie.device_runtime.home.journal import Journal


class CutError(Exception):
    """As a power cut."""


@pytest.fixture
def home(statistics_bundle, tmp_path):
    """Serves trousers, sandals and t-shirts behind a backbone."""
    installation.install(statistics_bundle, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def shown(frames_folder, test_folder, tmp_path):
    """Bags, which can be learnt, and a few of each known class under one label, which cannot."""
    folder = tmp_path / "shown"
    shutil.copytree(frames_folder / "bag", folder / "bag")
    (folder / "clothes").mkdir()
    for label in ("trouser", "sandal", "t-shirt"):
        for image in sorted((test_folder / label).iterdir())[:6]:
            shutil.copy(image, folder / "clothes" / f"{label}-{image.name}")
    return folder


def test_the_others_serve_and_it_says_what_was_left_out_and_why(reverie, home, shown):
    done = reverie("update", "--frames", shown, "--home", home, "--take-all", "--json")
    assert done.code == 0, done
    result = json.loads(done.out)
    assert "bag" in result["classes"]
    assert "clothes" not in result["classes"]
    (why,) = result["report"]["not_learnt"].values()
    assert "clothes was not learnt: it recognises" in why
    assert "show more of it, 36 or so" in why
    assert [row["label"] for row in result["report"]["classes"]] == ["bag"]


def test_its_stored_frames_stay_and_are_learnt_with_more(reverie, home, shown):
    for label in ("bag", "clothes"):
        assert reverie("add", shown / label, "--label", label, "--home", home).code == 0
    said = " ".join(reverie("update", "--home", home, "--take-all").out.split())
    assert "Left out: clothes was not learnt" in said
    assert "Not known for sure: no rehearsal tells" in said
    with frame_store.opened(home) as frames:
        assert {frame.label for frame in frames.to_learn()} == {"clothes"}
        assert len(frames.to_learn()) == 18
    assert "without clothes" in reverie("history", "--home", home).out


@pytest.mark.parametrize("before", [True, False], ids=["before it is noted", "after"])
def test_a_cut_when_a_label_is_left_out_ends_in_the_same_weights(reverie, home, shown, tmp_path, monkeypatch, before):
    uncut = Path(shutil.copytree(home, tmp_path / "uncut"))
    assert reverie("update", "--frames", shown, "--home", uncut, "--take-all").code == 0
    begin_anew = Journal.begin_anew

    def cut(self, *arguments, **options):
        if not before:
            begin_anew(self, *arguments, **options)
        raise CutError

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "begin_anew", cut)
        with pytest.raises(CutError):
            reverie("update", "--frames", shown, "--home", home, "--take-all")
    with closing(Journal(home)) as journal:
        assert list(journal.left_out()[0]) == ([] if before else ["clothes"])
        assert before or journal.in_progress().attempts == 0
    assert store.current(home) == "0000"
    with transaction.changing(home) as journal:
        generation = transaction.go_on(home, journal)
    assert generation.files == store.read_generation(uncut).files
    with closing(Journal(home)) as journal:
        assert journal.updates()[-1].outcome == "in service"

"""A label that looks like another class is held back with the reason until somebody insists; honest ones are not."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.frames import frame_store, questions
from reverie.device_runtime.method.labelled import Frames
from reverie.tools.bench.frames import read_frames

COUNT = 100


@pytest.fixture(scope="module")
def clothes(pixel_models, repository):
    """Name of each of eight kinds → inputs (200, 1, 28, 28) that no solver was trained on."""
    folder = repository / "models/fashion-demo/test"
    read = read_frames(folder, InputMaker(pixel_models.folder, pixel_models.manifest), 1)
    return {label: read.inputs[np.flatnonzero(read.labels == at)] for at, label in enumerate(read.classes)}


@pytest.fixture
def home(statistics_bundle, tmp_path):
    """Serves trousers, sandals and t-shirts behind a backbone."""
    installation.install(statistics_bundle, tmp_path / "home")
    return tmp_path / "home"


def labelled(**inputs):
    """Frames of each label."""
    return Frames(
        np.concatenate([*inputs.values()]),
        np.repeat(np.arange(len(inputs)), [len(part) for part in inputs.values()]),
        tuple(inputs),
    )


@pytest.fixture
def renamed(frames_folder, test_folder, tmp_path):
    """A folder of frames in which trousers that the solver has not seen are called pants, and of bags."""
    folder = tmp_path / "shown"
    shutil.copytree(test_folder / "trouser", folder / "pants")
    shutil.copytree(frames_folder / "bag", folder / "bag")
    return folder


@pytest.mark.parametrize("count", [10, 20, 60, COUNT])
def test_a_known_class_under_a_new_name_is_doubted_and_new_classes_are_not(pixel_models, clothes, count):
    for label in pixel_models.classes:
        found = questions.doubts(pixel_models, labelled(it=clothes[label][:count]))
        assert found["it"].other == label, count
        assert found["it"].taken > found["it"].of / 2
    assert not questions.doubts(pixel_models, labelled(shirt=clothes["shirt"][:count]))
    if count >= 20:  # by fewer, sneakers cannot be told from sandals
        assert not questions.doubts(pixel_models, labelled(sneaker=clothes["sneaker"][:count]))


def test_known_classes_under_their_own_names_are_never_doubted(pixel_models, clothes):
    own = {label: clothes[label] for label in pixel_models.classes}
    assert not questions.doubts(pixel_models, labelled(**own))
    for light in (0.4, 0.7, 1.3):
        shifted = {label: np.clip((images + 1) * light - 1, -1, 1) for label, images in own.items()}
        assert not questions.doubts(pixel_models, labelled(**shifted)), light


def test_two_labels_that_were_swapped_are_told_as_swapped(pixel_models, clothes):
    found = questions.doubts(
        pixel_models, labelled(trouser=clothes["dress"], dress=clothes["trouser"], coat=clothes["coat"])
    )
    assert {label: doubt.other for label, doubt in found.items()} == {"trouser": "dress", "dress": "trouser"}
    assert "the two look swapped" in questions.reasons(found)["dress"]


def test_frames_too_few_to_tell_are_not_asked_about(pixel_models, clothes):
    assert not questions.doubts(pixel_models, labelled(pants=clothes["trouser"][:9]))


def test_a_doubted_label_is_held_back_and_the_others_are_learnt(reverie, home, renamed):
    done = reverie("update", "--frames", renamed, "--home", home, "--json")
    assert done.code == 0, done
    result = json.loads(done.out)
    assert "bag" in result["classes"]
    assert "pants" not in result["classes"]
    (reason,) = result["report"]["set_aside"]["pants"]
    assert reason.startswith("held back: ")
    assert "are taken for trouser and look like it" in reason
    assert result["report"]["set_aside"]["pants"][reason] == 20
    with frame_store.opened(home) as frames:
        assert not frames.frames()  # those of a folder stay there


def test_nothing_is_changed_where_all_is_doubted_and_insisting_learns_it(reverie, home, renamed):
    shutil.rmtree(renamed / "bag")
    refused = reverie("update", "--frames", renamed, "--home", home)
    assert refused.code == 1
    assert "held back, so nothing is left to learn: pants: " in refused.err
    assert "If the labels are right, add --insist pants" in refused.err
    assert "not begun" in (past := reverie("history", "--home", home).out)
    assert "held back" in past
    assert json.loads(reverie("status", "--home", home, "--json").out)["name"] == "0000"
    assert reverie("update", "--frames", renamed, "--home", home, "--insist", "shoe").err.count("no frame of shoe")
    insisted = reverie("update", "--frames", renamed, "--home", home, "--insist", "pants", "--json", "--floor", 0)
    assert "held back" not in insisted.out + insisted.err


def test_frames_of_a_folder_that_are_held_back_are_learnt_from_that_folder(reverie, home, renamed):
    said = " ".join(reverie("update", "--frames", renamed, "--home", home).out.split())
    assert f"reverie update --frames {renamed} --insist LABEL tries to learn what is held back" in said
    nothing = reverie("update", "--insist", "pants", "--home", home)
    assert nothing.code == 1
    assert "no update in progress: begin one with --frames, or reverie add frames first" in nothing.err


def test_stored_frames_of_a_doubted_label_stay_stored_and_are_asked_about_again(reverie, home, renamed):
    assert reverie("add", renamed / "pants", "--label", "pants", "--home", home).code == 0
    assert reverie("add", renamed / "bag", "--label", "bag", "--home", home).code == 0
    said = " ".join(reverie("update", "--home", home).out.split())
    assert "held back" in said
    assert "reverie update --insist LABEL tries to learn what is held back, reverie purge --label LABEL forgets" in said
    with frame_store.opened(home) as frames:
        left = frames.stored()
    assert {frame.label for frame in left} == {"pants"}
    assert reverie("update", "--home", home).code == 1


def test_a_label_of_copies_is_held_back(reverie, home, frames_folder, tmp_path):
    shown = tmp_path / "shown"
    shutil.copytree(frames_folder / "bag", shown / "bag")
    first = next((shown / "bag").iterdir())
    for at in range(50):
        shutil.copy(first, shown / "bag" / f"copy{at}.png")
    refused = reverie("update", "--frames", shown, "--home", home)
    assert refused.code == 1
    assert "50 of 90 frames are copies of others: show more sides of it" in refused.err
    assert reverie("update", "--frames", shown, "--home", home, "--insist", "bag").code == 0

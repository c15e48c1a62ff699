"""Frames that all the others contradict are set aside before they are learnt, where a solver follows from sums."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from reverie.device_runtime.bundle.preprocess import find_images
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.frames.mislabelled import without_mislabelled
from reverie.device_runtime.frames.selection import Selection, Shown
from reverie.device_runtime.home import store
from reverie.device_runtime.method.labelled import Frames
from reverie.tools.bench.frames import read_frames


@pytest.fixture(scope="module")
def home(statistics_bundle, tmp_path_factory):
    """Serves trousers, sandals and t-shirts behind a backbone; only read."""
    home = tmp_path_factory.mktemp("mislabelled") / "home"
    installation.install(statistics_bundle, home)
    return home


@pytest.fixture(scope="module")
def models(home):
    return store.load_models(home, store.read_generation(home))


@pytest.fixture(scope="module")
def clothes(models, frames_folder):
    """40 frames each of bag and sneaker, as features."""
    return read_frames(frames_folder, InputMaker(models.folder, models.manifest), 5)


def chosen(models, frames, trusted=(), insisted=()):
    """What is left of `frames`, all of them taken."""
    shown = [
        Shown(frames.classes[slot], f"frame {at}", bytes, trusted=at in trusted)
        for at, slot in enumerate(frames.labels)
    ]
    selection = Selection(frames, list(range(len(shown))))
    return without_mislabelled(selection, shown, models, UpdateConfig(), insisted)


def exchanged(frames, count):
    """`frames` with the first `count` of each of the two labels under the other one, and the rows of those."""
    labels = frames.labels.copy()
    rows = np.concatenate([np.flatnonzero(frames.labels == slot)[:count] for slot in (0, 1)])
    labels[rows] = 1 - labels[rows]
    return Frames(frames.inputs, labels, frames.classes), rows


@pytest.mark.parametrize("count", [2, 4, 8])
def test_of_two_new_classes_partly_exchanged_at_least_half_of_the_wrong_labels_are_found(models, clothes, count):
    wrong, rows = exchanged(clothes, count)
    left = chosen(models, wrong)
    found = np.array(sorted(left.set_aside))
    assert np.isin(rows, found).mean() >= 0.5
    assert (~np.isin(found, rows)).sum() <= 3
    assert sorted([*left.taken, *left.set_aside]) == list(range(80))
    assert len(left.frames.inputs) == len(left.taken) == len(left.frames.labels)
    for at, reason in left.set_aside.items():
        assert reason != f"looks like {clothes.classes[wrong.labels[at]]}"


def test_of_honest_frames_hardly_any_is_set_aside(models, clothes):
    assert len(chosen(models, clothes).set_aside) <= 4


def test_a_label_that_is_wrong_as_a_whole_keeps_its_frames_for_the_gate_to_see(models, clothes):
    wrong, _ = exchanged(clothes, 40)
    assert not chosen(models, wrong).set_aside


def test_what_somebody_released_or_insists_on_stays(models, clothes):
    wrong, rows = exchanged(clothes, 4)
    assert not set(rows) & set(chosen(models, wrong, trusted=set(rows.tolist())).set_aside)
    left = chosen(models, wrong, insisted=("bag",))
    assert {clothes.classes[wrong.labels[at]] for at in left.set_aside} == {"sneaker"}


def test_an_update_tells_which_frames_others_contradict_and_keeps_them_aside(reverie, home, frames_folder, tmp_path):
    own = shutil.copytree(home, tmp_path / "home")
    folder = shutil.copytree(frames_folder, tmp_path / "frames")
    for file in find_images(folder / "sneaker")[:4]:
        file.rename(folder / "bag" / f"moved-{file.name}")
    assert reverie("update", "--frames", folder, "--home", own).code == 0
    report = store.read_report(own, "0001")
    assert report["set_aside"]["bag"]["looks like sneaker"] >= 3
    said = reverie("frames", "--home", own, "--json").out
    assert "looks like sneaker" in said

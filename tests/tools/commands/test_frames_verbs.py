"""Frames as people and programs see them: added, listed, learnt, set aside with a reason, released and purged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from outside import ANYTHING_SERVES
from short import few, wait_for, words
from waiting import PATIENCE, until

from reverie.device_runtime.bundle.preprocess import find_images
from reverie.device_runtime.changes import transaction
from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.frames.gate import Gate
from reverie.device_runtime.home import store

pytestmark = pytest.mark.usefixtures("anything_serves", "few_steps")

HURRY = ("--max-minutes", "0.00001")


@pytest.fixture
def own_frames(frames_folder, tmp_path):
    """Eight images of each of the two new classes."""
    folder = tmp_path / "frames"
    for label in ("bag", "sneaker"):
        (folder / label).mkdir(parents=True)
        for file in find_images(frames_folder / label)[:8]:
            shutil.copy(file, folder / label)
    return folder


def listed(reverie, home):
    return json.loads(reverie("frames", "--home", home, "--json").out)


def test_added_frames_are_learnt_by_an_update_without_a_folder_and_are_gone(reverie, home, own_frames):
    for label in ("bag", "sneaker"):
        done = reverie("add", "--home", home, "--label", label, own_frames / label)
        assert (done.code, done.out) == (0, f"8 of 8 frames added; {label} has 8\n")
    found = listed(reverie, home)
    assert found["labels"]["bag"]["stored"] == found["labels"]["sneaker"]["stored"] == 8
    assert found["bytes"] == sum(p.stat().st_size for p in find_images(own_frames))
    done = reverie("update", "--home", home, *HURRY)
    assert done.code == 0, done
    assert "generation 0001: sandal, t-shirt, trouser, bag, sneaker" in " ".join(done.out.split())
    assert reverie("frames", "--home", home).out == "no frames\n"


def test_what_is_set_aside_is_told_listed_released_and_learnt_after_all(reverie, home, own_frames, tmp_path):
    file = find_images(own_frames / "bag")[0]
    (tmp_path / "no.png").write_bytes(b"no image")
    dark = tmp_path / "dark.png"
    cv2.imwrite(str(dark), np.zeros((28, 28), np.uint8))
    reverie("add", "--home", home, "--label", "bag", own_frames / "bag")
    done = reverie("add", "--home", home, "--label", "cup", file, dark, tmp_path / "no.png")
    assert done.code == 1
    told = f"{file}: set aside, also labelled bag\n{dark}: set aside, too dark\n0 of 3 frames added; cup has 0\n"
    assert done.out == told
    assert done.err == f"reverie: {tmp_path}/no.png is not a readable PNG or JPEG image: remove or replace it\n"
    quarantine = listed(reverie, home)["quarantine"]
    assert "frames:      8 to learn, 2 set aside\n" in reverie("status", "--home", home).out
    assert json.loads(reverie("status", "--home", home, "--json").out)["frames"] == {
        "to_learn": 8,
        "learnt": 0,
        "quarantined": 2,
    }
    assert [(row["label"], row["reason"]) for row in quarantine] == [("cup", "also labelled bag"), ("cup", "too dark")]
    shown = reverie("frames", "--home", home).out
    assert all(word in shown for word in ("Quarantine", "also labelled bag", "too dark"))
    done = reverie("frames", "--home", home, "--release", quarantine[1]["id"], "--json")
    assert json.loads(done.out)["labels"]["cup"] == {
        "stored": 1,
        "quarantined": {"also labelled bag": 1},
        "bytes": file.stat().st_size + dark.stat().st_size,
    }
    done = reverie("frames", "--home", home, "--release", 99)
    assert (done.code, done.err) == (
        1,
        f"reverie: there is no frame 99 in quarantine: see reverie frames --home {home}\n",
    )


def test_an_update_tells_which_frames_of_a_folder_it_did_not_learn_and_keeps_copies(reverie, home, own_frames):
    bag, sneaker = (find_images(own_frames / label) for label in ("bag", "sneaker"))
    shutil.copy(bag[0], own_frames / "bag/again.png")
    shutil.copy(bag[1], own_frames / "sneaker/contradicts.png")
    (own_frames / "sneaker/no.jpg").write_bytes(b"no image")
    cv2.imwrite(str(own_frames / "sneaker/white.png"), np.full((28, 28), 255, np.uint8))
    done = reverie("update", "--home", home, "--frames", own_frames, "--json", *HURRY)
    assert done.code == 0, done
    report = json.loads(done.out)["report"]
    expected = {
        "bag": {"also labelled sneaker": 1, "duplicate": 1},
        "sneaker": {"also labelled bag": 1, "unreadable": 1, "too bright": 1},
    }
    assert report["set_aside"] == expected == store.read_report(home, "0001")["set_aside"]
    assert [row["frames"] for row in report["classes"]] == [7, 8]
    found = listed(reverie, home)["labels"]
    assert found["bag"]["quarantined"] == expected["bag"]
    assert found["sneaker"]["quarantined"] == {"also labelled bag": 1, "too bright": 1}  # what is no image stays there
    assert [p for p in (bag[0], sneaker[0], own_frames / "sneaker/no.jpg") if not p.exists()] == []
    done = reverie("update", "--home", home, "--frames", own_frames, "--take-all", *HURRY)
    assert done.code == 0, done
    shown = " ".join(done.out.split())
    assert "Frames set aside" in shown
    assert "unreadable" in shown
    assert store.read_report(home, "0002")["set_aside"] == {"sneaker": {"unreadable": 1}}


def test_a_wrong_label_of_a_known_class_is_set_aside_and_a_class_that_looks_new_is_not(
    reverie, home, test_folder, frames_folder, tmp_path
):
    """The solver contradicts one wrong label of a class that it knows, and no class that it does not recognise."""
    known = tmp_path / "known"
    shutil.copytree(frames_folder / "bag", known / "bag")  # or there would be nothing to learn
    for label in ("trouser", "sandal"):
        shutil.copytree(test_folder / label, known / label)
    wrong = find_images(test_folder / "trouser")
    with frame_store.opened(home):  # what the solver is sure of
        sure = [
            file
            for file in wrong
            if json.loads(reverie("predict", "--home", home, file, "--json").out)["probabilities"]["trouser"] > 0.96
        ]
    assert sure
    (known / "trouser" / sure[0].name).rename(known / "sandal/wrong.png")
    done = reverie("update", "--home", home, "--frames", known, "--json", *HURRY)
    assert done.code == 0, done
    assert json.loads(done.out)["report"]["set_aside"]["sandal"]["looks like trouser"] == 1
    shifted = tmp_path / "shifted"
    for label in ("trouser", "sandal"):
        (shifted / label).mkdir(parents=True)
        for file in find_images(test_folder / label):
            turned = cv2.rotate(255 - cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), cv2.ROTATE_90_CLOCKWISE)
            cv2.imwrite(str(shifted / label / file.name), turned)
    done = reverie("update", "--home", home, "--frames", shifted, "--json", *HURRY)
    assert done.code == 0, done
    assert json.loads(done.out)["report"]["set_aside"] == {}


def test_options_of_a_new_update_are_for_stored_frames_too(reverie, home, own_frames):
    for label in ("bag", "sneaker"):
        reverie("add", "--home", home, "--label", label, own_frames / label)
    done = reverie("update", "--home", home, "--keep-frames", "--max-images", "5", "--seed", "3", "--json", *HURRY)
    assert done.code == 0, done
    report = json.loads(done.out)["report"]
    assert report["config"]["seed"] == 3
    assert report["set_aside"] == {label: {"over the cap": 3} for label in ("bag", "sneaker")}
    assert listed(reverie, home)["labels"]["bag"]["stored"] == 8


def test_purge_says_what_went_and_what_cannot_be_removed(reverie, bundle, tmp_path, own_frames):
    home, key = tmp_path / "home", tmp_path / "key"
    assert reverie("install", bundle, "--home", home, "--key-file", key).code == 0
    for label in ("bag", "sneaker"):
        reverie("add", "--home", home, "--label", label, own_frames / label)
    done = reverie("purge", "--home", home, "--before", "2020-01-01", "--json")
    assert json.loads(done.out)["stored"] == 0
    done = reverie("purge", "--home", home, "--label", "bagg")
    assert (done.code, done.out) == (1, "")
    assert "holds no frames of bagg, so none were removed (it holds some: bag, sneaker)" in done.err
    done = reverie("purge", "--home", home, "--label", "bag")
    assert done.out.splitlines()[0] == "purged: 8 stored frames, 0 set aside"
    assert "not removed: weights that learnt from frames before" in done.out
    assert key.exists()
    done = reverie("purge", "--home", home, "--all")
    assert done.out.splitlines()[:2] == [
        "purged: 8 stored frames, 0 set aside",
        "destroyed: the key; a new one is made when it is needed",
    ]
    assert not key.exists()
    done = reverie("add", "--home", home, "--label", "bag", own_frames / "bag")
    assert done.code == 0, done
    assert key.exists()


def test_what_taking_all_would_not_help_is_not_told_to_take_all(reverie, home, own_frames):
    for image in sorted(own_frames.glob("bag/*"))[2:]:
        image.write_bytes(b"no image")
    for options in ((), ("--take-all",)):
        done = reverie("update", "--home", home, "--frames", own_frames, *options)
        assert done.code == 1
        assert "bag has 2 of 8 frames left, at least 5 are needed; set aside: 6 unreadable" in done.err
        assert done.err.endswith("; show more frames\n")


def test_a_store_that_is_full_is_told_in_one_line(reverie, home, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 640, 640, 3), dtype=np.uint8)
    for number, image in enumerate(noise):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    images = (tmp_path / "0.png", tmp_path / "1.png")
    done = reverie("add", "--home", home, "--label", "x", "--max-mb", "2", "--take-all", *images)
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "run reverie update, which learns and removes them, or reverie purge" in done.err
    assert listed(reverie, home)["labels"]["x"]["stored"] == 1


def test_frames_that_were_added_before_an_interruption_stay(reverie, home, own_frames, monkeypatch):
    offer = Gate.offer

    def stop(gate, label, content, where):
        if where.name == "03.png":
            raise KeyboardInterrupt
        return offer(gate, label, content, where)

    monkeypatch.setattr(Gate, "offer", stop)
    done = reverie("add", "--home", home, "--label", "bag", own_frames / "bag")
    assert (done.code, done.err) == (130, "interrupted; 3 of 8 frames were added\n")
    assert listed(reverie, home)["labels"]["bag"]["stored"] == 3


def test_frames_are_added_by_one_process_while_another_updates(reverie, home, own_frames, frames_folder, tmp_path):
    added = tmp_path / "added"
    run = f"{ANYTHING_SERVES}{words(few)}{words(wait_for, added)}\nfrom reverie.tools.cli import main\nmain()"
    command = [sys.executable, "-c", run, "update", "--home", home, "--frames", frames_folder]
    updating = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    until(lambda: updating.poll() is not None or any(update.stage for update in transaction.look(home)[0]))
    for file in find_images(own_frames / "bag"):
        assert reverie("add", "--home", home, "--label", "bag", file).code == 0
    assert updating.poll() is None
    assert listed(reverie, home)["bytes"] > 0
    added.touch()
    assert updating.wait(PATIENCE) == 0
    assert store.current(home) == "0001"
    assert listed(reverie, home)["labels"]["bag"]["stored"] == 8

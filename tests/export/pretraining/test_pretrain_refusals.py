"""Folders that nothing can be learnt from: one line, exit code 1, nothing written."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest


@pytest.fixture
def pictures(workspace):
    """Two classes of three grey 20x24 pictures, which a test then damages."""
    for at, label in enumerate(("bolt", "nut")):
        (workspace / "pictures" / label).mkdir(parents=True)
        for name in "abc":
            cv2.imwrite(f"pictures/{label}/{name}.png", np.full((20, 24), 60 + 100 * at, np.uint8))
    return workspace / "pictures"


def no_classes(pictures):
    shutil.rmtree(pictures / "bolt")
    shutil.rmtree(pictures / "nut")


def one_class(pictures):
    shutil.rmtree(pictures / "nut")


def an_empty_class(pictures):
    (pictures / "screw").mkdir()
    (pictures / "screw" / "notes.txt").write_text("none yet", encoding="utf-8")


def one_picture_of_a_class(pictures):
    (pictures / "screw").mkdir()
    cv2.imwrite("pictures/screw/a.png", np.zeros((20, 24), np.uint8))


def another_size(pictures):
    cv2.imwrite(str(pictures / "nut" / "d.png"), np.zeros((24, 20), np.uint8))


def unreadable(pictures):
    (pictures / "nut" / "b.png").write_bytes(b"\x89PNG but no more")


def no_folder(pictures):
    shutil.rmtree(pictures)


@pytest.fixture
def own_pictures(own):
    """Two pictures of each of four classes, beside the user's own networks."""
    for at, label in enumerate(("bolt", "nut", "screw", "washer")):
        (own.folder / "pictures" / label).mkdir(parents=True)
        for name in "ab":
            cv2.imwrite(f"pictures/{label}/{name}.png", np.full((8, 8), 60 * at, np.uint8))


def pretrain(*options):
    return ("pretrain", "pictures", "--output", "trained", "--solver-epochs", 1, "--gan-steps", 1, *options)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_classes, "pictures needs a folder of images for each of at least two classes"),
        (no_folder, "pictures is no folder: give one with a folder of images for each class"),
        (one_class, "pictures needs a folder of images for each of at least two classes"),
        (an_empty_class, "pictures/screw holds 0 PNG or JPEG images"),
        (one_picture_of_a_class, "holds 1 PNG or JPEG images: at least 2 are needed"),
        (another_size, "pictures/nut/d.png is 20x24 pixels"),
        (unreadable, "images in pictures cannot be read, pictures/nut/b.png first: copy them again, or remove them"),
    ],
)
def test_a_folder_that_nothing_can_be_learnt_from_is_refused(pictures, refused, damage, message):
    damage(pictures)
    assert message in refused(*pretrain())


@pytest.mark.parametrize("size", ["20", "20,24,3"])
def test_a_size_that_is_not_height_and_width_is_refused(pictures, refused, size):
    assert pictures.is_dir()
    assert "is not HEIGHT,WIDTH" in refused(*pretrain("--size", size))


def test_an_output_that_exists_is_refused_and_untouched(pictures, refused):
    (pictures.parent / "trained").mkdir()
    (pictures.parent / "trained" / "solver.safetensors").write_bytes(b"mine")
    assert "trained exists already" in refused(*pretrain())


def test_pictures_of_other_sizes_are_fitted_where_a_size_is_given(pictures, reverie):
    another_size(pictures)
    assert reverie(*pretrain("--size", "10,12")).code == 0


def test_the_class_with_one_picture_is_called_by_its_name(pictures, refused):
    one_picture_of_a_class(pictures)
    assert "screw" in refused(*pretrain())


def test_another_size_is_answered_with_the_option_that_helps(pictures, refused):
    another_size(pictures)
    assert "--size" in refused(*pretrain())


@pytest.mark.usefixtures("own_pictures")
@pytest.mark.parametrize(("factory", "message"), [("fixed", "returns shape (2, 3)"), ("Codeless", "solver")])
def test_an_own_solver_that_does_not_fit_the_pictures_is_refused_before_training(refused, factory, message):
    assert message in refused(*pretrain("--solver", f"my_networks:{factory}"))


@pytest.mark.usefixtures("own_pictures")
def test_an_own_solver_with_tied_weights_is_refused(refused):
    assert "share" in refused(*pretrain("--solver", "my_networks:Tied"))


def test_an_output_that_cannot_be_made_is_refused_before_training(pictures, reverie):
    (pictures.parent / "file").write_text("mine", encoding="utf-8")
    finished = reverie("pretrain", "pictures", "--output", "file/trained", "--solver-epochs", 1, "--gan-steps", 1)
    assert finished.code == 1
    assert "step" not in finished.out


def test_a_label_in_brackets_is_printed_as_it_is(pictures, reverie):
    (pictures / "nut").rename(pictures / "[red]nut")
    finished = reverie(*pretrain())
    assert "[red]nut: " in finished.out


def test_a_picture_in_colour_after_a_grey_one_is_told_and_not_taken_for_grey(pictures, refused, reverie):
    coloured = np.zeros((20, 24, 3), np.uint8)
    coloured[:, :12, 2] = 200
    cv2.imwrite("pictures/nut/c.png", coloured)
    line = refused("pretrain", "pictures", "--output", "out")
    assert "nut/c.png has colours" in line
    assert "say --colour rgb" in line
    done = reverie("pretrain", "pictures", "--output", "out", "--colour", "rgb", "--solver-epochs", 1, "--gan-steps", 2)
    assert (done.code, (pictures.parent / "out").is_dir()) == (0, True)

"""Which images of a folder the accuracy bench learns, which it tests, and in which order classes come."""

from __future__ import annotations

import pytest

from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.method.labelled import label_files
from reverie.tools.bench.accuracy_start import OwnImages, _in_drawn_order, _learnt_and_tested, _require_tested

LABELS = [f"class{at:02}" for at in range(9)]


@pytest.fixture
def folders(tmp_path):
    """Ten images of each class to learn, and three to test; only their names count."""
    for part, count in (("train", 10), ("val", 3)):
        for label in LABELS:
            (tmp_path / part / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / part / label / f"{part}{number}.png").touch()
    return tmp_path


def parts(folders, *, validation=False, tests=None):
    folder = folders / "train"
    own = OwnImages(folder, validation, None, None, None, None, 1, 1, {}, None, tests)
    return _learnt_and_tested(own, label_files(folder, 5), seed=0)


def test_with_a_folder_to_test_on_all_others_are_learnt(folders):
    train, test = parts(folders, tests=folders / "val")
    assert [len(files) for files in train] == [10] * 9
    for label, files in zip(LABELS, test, strict=True):
        assert sorted(files) == [folders / "val" / label / f"val{number}.png" for number in range(3)]


@pytest.mark.parametrize("given", [False, True])
def test_settings_are_chosen_on_images_that_are_neither_learnt_nor_tested(folders, given):
    tests = folders / "val" if given else None
    tested = {file for files in parts(folders, tests=tests)[1] for file in files}
    train, held_out = (
        {file for files in part for file in files} for part in parts(folders, validation=True, tests=tests)
    )
    assert not tested & train
    assert not tested & held_out
    assert not train & held_out
    assert len(held_out) == 18


def test_a_class_may_be_learnt_and_not_tested_but_not_all_that_are_learnt_together(folders):
    (folders / "val/class04").rename(folders / "val/another")
    own = OwnImages(folders / "train", False, None, None, None, None, 1, 1, {}, None, folders / "val")
    train, test = _learnt_and_tested(own, label_files(own.folder, 5), seed=0)
    assert (len(train[4]), test[4]) == (10, [])
    _require_tested(own, [[0, 1], [3, 4]], tuple(LABELS), test)
    with pytest.raises(FramesError, match="val has no images of class04: it must have those of some of the classes"):
        _require_tested(own, [[0, 1], [4]], tuple(LABELS), test)


def test_a_drawn_order_is_one_for_a_seed_and_has_the_known_classes_of_a_bundle_first():
    labelled = [(label, []) for label in LABELS]
    orders = [[label for label, _ in _in_drawn_order(labelled, 5, seed)] for seed in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    for order in orders:
        assert sorted(order) == LABELS
        assert order[:5] == sorted(order[:5]) != LABELS[:5]

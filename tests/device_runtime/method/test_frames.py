"""Labelled frames: what may be a label, which slot it takes, and what is kept to judge the result."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from reverie.device_runtime.bundle.labels import check_label
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.method.labelled import Frames, extend_classes, split
from reverie.tools.bench.frames import read_frames

characters = st.characters(categories=("L", "N", "P", "S", "M"), exclude_characters="/\\")
forbidden = st.sampled_from("/\\\u2028\u2029") | st.characters(categories=("Cc", "Cf", "Cs", "Co", "Cn"))


@given(st.text(characters, min_size=1, max_size=64).filter(lambda label: label not in {".", ".."}))
def test_any_short_printable_name_can_be_a_label(label):
    check_label(label)
    check_label(f"{label[:31]} {label[:32]}")


@given(st.text(characters, max_size=9), forbidden, st.text(characters, max_size=9))
def test_a_separator_or_control_character_anywhere_is_refused_in_one_printable_line(before, bad, after):
    with pytest.raises(FramesError, match="cannot be a label") as refused:
        check_label(before + bad + after)
    assert len(str(refused.value).splitlines()) == 1


@given(st.text(min_size=1, max_size=70))
def test_whatever_is_accepted_is_safe_as_a_name_and_on_a_terminal(label):
    try:
        check_label(label)
    except FramesError:
        return
    assert len(label) <= 64
    assert label.splitlines() == [label]
    assert label not in {".", ".."}
    assert not any(c in "/\\" or unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in label)


@pytest.mark.parametrize(
    "label", ["", " ", ".", "..", " cup", "cup ", "c" * 65, "cup\n", "a/b", "a\\b", "\x00", "\x1b[2J"]
)
def test_these_are_no_labels(label):
    with pytest.raises(FramesError, match="cannot be a label"):
        check_label(label)


labels = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True).map(tuple)


@given(labels, labels, st.integers(0, 4))
def test_new_labels_take_the_next_slots_and_known_ones_keep_theirs(known, seen, spare):
    new = [label for label in seen if label not in known]
    slots = len(known) + spare
    if len(new) > spare:
        with pytest.raises(FramesError, match=f"{len(new)} new labels .* but {spare} spare class slots"):
            extend_classes(known, seen, slots)
        return
    classes = extend_classes(known, seen, slots)
    assert classes[: len(known)] == known
    assert list(classes[len(known) :]) == new


@given(st.lists(st.integers(2, 30), min_size=1, max_size=4), st.floats(0, 0.9), st.integers(0, 99))
@example([2, 3], 0.9, 0)
def test_every_frame_is_trained_on_or_held_out_and_each_class_keeps_its_share(sizes, holdout, seed):
    values = np.arange(sum(sizes), dtype=np.float32)[:, None]
    own = np.repeat(np.arange(len(sizes)), sizes)
    names = tuple("abcd"[: len(sizes)])
    classes = ("known", *names[::-1])
    live, held_out = split(Frames(values, own, names), classes, holdout, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([live.inputs[:], held_out.inputs[:]]), axis=0), values)
    for part in (live, held_out):
        slots = [classes.index(names[own[int(value)]]) for value in part.inputs[:][:, 0]]
        np.testing.assert_array_equal(part.labels, slots)
    for at, size in enumerate(sizes):
        kept = int((held_out.labels == classes.index(names[at])).sum())
        assert kept == min(size - 1, round(holdout * size))


@given(st.integers(0, 2**31 - 1))
def test_the_split_is_a_pure_function_of_the_seed(seed):
    frames = Frames(np.arange(60, dtype=np.float32)[:, None], np.repeat([0, 1], 30), ("a", "b"))

    def held(with_seed):
        return split(frames, ("a", "b"), 0.2, with_seed)[1].inputs[:].tobytes()

    assert held(seed) == held(seed)
    assume(seed)
    assert len({held(seed + more) for more in range(5)}) > 1


def test_frames_are_read_with_the_name_of_their_folder(frames, frames_folder, models):
    assert frames.classes == tuple(sorted(p.name for p in frames_folder.iterdir()))
    assert frames.inputs.shape == (80, *models.manifest.input_shape)
    assert np.bincount(frames.labels).tolist() == [40, 40]
    assert -1 <= frames.inputs.min() < frames.inputs.max() <= 1


def test_hidden_folders_and_other_files_are_not_labels(tmp_path, models, frames_folder):
    for name in ("bag", ".thumbnails"):
        (tmp_path / name).mkdir()
        for file in list((frames_folder / "bag").iterdir())[:5]:
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "notes.txt").touch()
    (tmp_path / "bag/notes.txt").touch()
    read = read_frames(tmp_path, InputMaker(models.folder, models.manifest), 5)
    assert read.classes == ("bag",)
    assert len(read.inputs) == 5

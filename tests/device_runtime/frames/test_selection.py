"""What an update is shown is learnt or set aside, none is lost between, and no picture is learnt under two labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.bundle.preprocess import find_images
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import FramesError
from reverie.device_runtime.frames.selection import Shown, select

CONFIG = replace(UpdateConfig(), min_images=1)
TAKE_ALL = replace(CONFIG, intake=replace(CONFIG.intake, check=False))


@pytest.fixture(scope="module")
def contents(frames_folder):
    """Image files that show different things, and one that shows nothing."""
    return [file.read_bytes() for file in find_images(frames_folder)[::8]] + [b"no image"]


@pytest.fixture(scope="module")
def chosen(models, tmp_path_factory):
    make = InputMaker(models.folder, models.manifest)
    home = tmp_path_factory.mktemp("home")
    return lambda shown, config=CONFIG: select(shown, make, models.solver_graph, models.classes, config, home)


def show(contents, pairs, trusted=()):
    return [
        Shown(label, f"frame {at}", lambda number=number: contents[number], at in trusted)
        for at, (number, label) in enumerate(pairs)
    ]


pairs = st.lists(st.tuples(st.integers(0, 10), st.sampled_from(["cup", "box", "pen"])), min_size=1, max_size=25)


@given(pairs)
def test_each_frame_is_learnt_or_set_aside_and_each_picture_is_learnt_once_or_not_at_all(chosen, contents, pairs):
    shown = show(contents, pairs)
    labels_of = {number: {label for n, label in pairs if n == number} for number, _ in pairs}
    fit = {number for number, labels in labels_of.items() if len(labels) == 1 and number != 10}
    if {label for number, label in pairs if number in fit} != {label for _, label in pairs}:
        with pytest.raises(FramesError, match=r"has 0 of .* frames left, at least 1 are needed; set aside: "):
            chosen(shown)
        return
    selection = chosen(shown)
    assert sorted([*selection.taken, *selection.set_aside]) == list(range(len(shown)))
    assert Counter(pairs[at][0] for at in selection.taken) == dict.fromkeys(fit, 1)
    for at, reason in selection.set_aside.items():
        number, label = pairs[at]
        if number == 10:
            assert reason == "unreadable"
        elif number in fit:
            assert reason == "duplicate"
        else:
            others = {f"also labelled {other}" for other in labels_of[number] - {label}}
            assert reason in others | {"duplicate"}
    assert sum(n for reasons in selection.counts(shown).values() for n in reasons.values()) == len(selection.set_aside)


@given(pairs)
def test_labels_and_inputs_stay_together(chosen, contents, pairs):
    pairs = [pair for pair in pairs if pair[0] != 10] or [(0, "cup")]
    shown = show(contents, pairs)
    selection = chosen(shown, TAKE_ALL)
    assert selection.taken == list(range(len(shown)))
    assert [selection.frames.classes[at] for at in selection.frames.labels] == [label for _, label in pairs]
    alone = {number: chosen(show(contents, [(number, "cup")]), TAKE_ALL).frames.inputs[0] for number, _ in pairs}
    for x, (number, _) in zip(selection.frames.inputs, pairs, strict=True):
        np.testing.assert_array_equal(x, alone[number])


def test_what_somebody_looked_at_is_believed(chosen, contents):
    pairs = [(0, "cup"), (0, "box"), (1, "cup"), (1, "cup"), (2, "box")]
    selection = chosen(show(contents, pairs, trusted={0, 3}))
    assert selection.set_aside == {1: "also labelled cup"}
    assert selection.taken == [0, 2, 3, 4]


def test_the_surplus_of_a_class_is_counted_and_not_read(chosen, contents):
    def fail():
        raise AssertionError

    shown = [*show(contents, [(0, "cup"), (1, "cup"), (2, "box")]), Shown("cup", "x", fail)]
    two = replace(CONFIG, intake=replace(CONFIG.intake, max_per_class=2))
    assert chosen(shown, two).set_aside == {3: "over the cap"}


def test_an_image_of_the_wrong_size_is_named_with_both_sizes(contents, models, tmp_path):
    exact = replace(models.manifest, preprocessing=replace(models.manifest.preprocessing, resize="exact"))
    make = InputMaker(models.folder, exact)
    with pytest.raises(FramesError, match=r"1 wrong size \(frame 0 is 28x28 pixels, the solver takes 14x14"):
        select(show(contents, [(0, "cup")]), make, models.solver_graph, models.classes, CONFIG, tmp_path)

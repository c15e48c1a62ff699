"""The kinds of update of `reverie bench harm` are what their names say."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from reverie.device_runtime.errors import FramesError
from reverie.tools.bench.harm import honest, wrong
from reverie.tools.bench.harm.honest import HONEST
from reverie.tools.bench.harm.kinds import FRAMES, Material
from reverie.tools.bench.harm.playing import KINDS
from reverie.tools.bench.harm.wrong import WRONG

KNOWN, NEW = ("apple", "banana", "cherry"), ("date", "fig")
THERE = 80


@pytest.fixture(scope="module")
def material():
    """Images of spots, each of its own; classes are told apart by name alone."""
    rng = np.random.default_rng(0)

    def spots():
        return np.asarray(cv2.resize(rng.integers(40, 200, (6, 6, 3), np.uint8), (24, 30)))

    return Material({label: [spots() for _ in range(THERE)] for label in (*KNOWN, *NEW)}, KNOWN, NEW)


@pytest.fixture
def made(material):
    """kind → frames."""
    return lambda kind, seed=0: KINDS[kind](material, np.random.default_rng(seed))


def pairs(frames):
    """How many frames have which label and show which class."""
    return Counter((frame.label, frame.truth) for frame in frames)


def mislabelled(frames):
    return sum(frame.label != frame.truth for frame in frames) / len(frames)


def test_there_are_enough_kinds_and_none_is_both_honest_and_wrong():
    assert len(KINDS) == len(HONEST) + len(WRONG) >= 28


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_anew_with_each_seed_and_leaves_the_images_as_they_are(material, made, kind):
    before = {label: [image.copy() for image in images] for label, images in material.images.items()}
    frames, again, other = made(kind), made(kind), made(kind, 1)
    assert all(f.image.dtype == np.uint8 and f.image.shape == (30, 24, 3) for f in frames)
    assert [(f.label, f.truth, f.image.tobytes()) for f in frames] == [
        (f.label, f.truth, f.image.tobytes()) for f in again
    ]
    assert [f.image.tobytes() for f in frames] != [f.image.tobytes() for f in other]
    for label, images in material.images.items():
        assert all((image == was).all() for image, was in zip(images, before[label], strict=True))


@pytest.mark.parametrize("kind", HONEST)
def test_honest_labels_are_right(made, kind):
    assert mislabelled(made(kind)) == 0


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        *((kind, 1) for kind in ("known under a new name", "known under two new names", "known as another")),
        *((kind, 1) for kind in ("two known swapped", "new as known", "noise as a class")),
        ("10 % random labels", 0.1),
        ("20 % random labels", 0.2),
        ("40 % random labels", 0.4),
        ("20 % of a known as another", 0.2),
        ("20 % of a new are a known", 0.2),
        ("30 % of two new exchanged", 0.3),
        ("all under one label", 0.8),
        ("one frame again and again", 0),
        ("half-decoded", 0),
    ],
)
def test_as_many_labels_are_wrong_as_the_name_says(made, kind, share):
    assert kind in WRONG
    assert mislabelled(made(kind)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("new, 60 frames", {"date": 60, "fig": 60}),
        ("new, 5 frames", {"date": 5, "fig": 5}),
        ("new and known", dict.fromkeys((*KNOWN, *NEW), 20)),
        ("all known again", dict.fromkeys(KNOWN, 60)),
    ],
)
def test_honest_updates_show_as_many_frames_as_their_names_say(made, kind, labels):
    assert Counter(frame.label for frame in made(kind)) == labels


def test_where_there_are_fewer_frames_than_wanted_all_are_shown(made):
    frames = made("known again")
    assert len(frames) == THERE
    assert len({frame.image.tobytes() for frame in frames}) == THERE


def test_an_unbalanced_update_has_few_of_one_class_and_many_of_another(made):
    assert sorted(Counter(frame.label for frame in made("new, unbalanced")).values()) == [5, FRAMES]


def test_one_pose_is_nearly_one_image_and_no_frame_is_another(made):
    images = [frame.image.astype(float) for frame in made("new, one pose")]
    still = [np.abs(image - images[0]).mean() for image in images[1:54]]
    assert 0 < min(still) < max(still) < min(np.abs(image - images[0]).mean() for image in images[54:])


def test_what_is_renamed_or_swapped_is_whole(made):
    (((label, truth), count),) = pairs(made("known under a new name")).items()
    assert (label, count) == (f"{truth} 1", FRAMES)
    assert truth in KNOWN
    halves = pairs(made("known under two new names"))
    assert {(label[-2:], count) for (label, _), count in halves.items()} == {(" 1", 30), (" 2", 30)}
    (one, count), (other, _) = pairs(made("two known swapped")).items()
    assert (one, count) == (other[::-1], FRAMES)
    ((label, truth),) = pairs(made("new as known"))
    assert (label in KNOWN, truth in NEW) == (True, True)


def test_what_is_partly_another_is_one_class_for_the_rest(made):
    labels = pairs(made("20 % of a new are a known"))
    ((label, stranger),) = [pair for pair in labels if pair[0] != pair[1]]
    assert labels == {(label, stranger): 12, (label, label): 48}
    assert (label in NEW, stranger in KNOWN) == (True, True)


def test_wrong_frames_show_what_they_say(made):
    assert len({frame.image.tobytes() for frame in made("one frame again and again")}) == 1
    assert all((frame.image[15:] == wrong.GREY).all() for frame in made("half-decoded"))
    assert {(frame.label, frame.truth) for frame in made("noise as a class")} == {("noise", "")}


def test_light_hand_and_camera_change_images_as_they_say(material):
    rng = np.random.default_rng(0)
    image = material.images["apple"][0]
    mean = image.mean()
    assert (
        honest.relit(image, rng).mean() < honest.darker(image, rng).mean() < mean < honest.brighter(image, rng).mean()
    )
    noise = honest.noisy(image, rng).astype(float) - image
    assert noise.std() == pytest.approx(honest.CAMERA_NOISE, rel=0.1)
    edges = [float(cv2.Laplacian(some, cv2.CV_32F).var()) for some in (image, honest.blurred(image, rng))]
    assert edges[1] < edges[0]
    assert 0 < np.abs(honest.turned(image, rng).astype(float) - image).mean() < 40


def test_a_kind_for_which_classes_are_missing_says_how_many(material):
    rng = np.random.default_rng(0)
    only = material._replace(known=("apple",), new=())
    for kind, words in {
        "new, 60 frames": "it takes 1 new classes, and there are 0",
        "30 % of two new exchanged": "it takes 2 new classes, and there are 0",
        "two known swapped": "it takes 2 known classes, and there are 1",
    }.items():
        with pytest.raises(FramesError, match=words):
            KINDS[kind](only, rng)

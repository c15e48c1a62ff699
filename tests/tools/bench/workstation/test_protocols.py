"""The protocols of the accuracy bench draw what they say, and training images alone are learnt."""

from __future__ import annotations

import gzip
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.device_runtime.errors import FramesError
from reverie.tools.bench.protocols import (
    PROTOCOLS,
    Samples,
    as_frames,
    product,
    read_idx,
    shift,
    shifted,
    validation_split,
)


def digits(count, seed, shape=(1, 28, 28), classes=10):
    """Noise whose first two pixels are its number in this set and the set's seed: they identify it."""
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(-1, 1, (count, *shape)).astype(np.float32)
    inputs[:, 0, 0, 0], inputs[:, 0, 0, 1] = np.arange(count), seed
    return Samples(inputs, rng.permutation(np.arange(count) % classes))


def identities(samples):
    return {tuple(pair) for pair in samples.inputs[:, 0, 0, :2].tolist()}


TRAIN, TEST = digits(600, seed=1), digits(200, seed=2)


@given(seed=st.integers(0, 2**31 - 1), live=st.integers(1, 60).map(lambda n: 2 * n))
@settings(max_examples=15)
def test_product_learns_two_pairs_of_new_classes_from_training_images_alone(seed, live):
    steps = product(TRAIN, TEST, seed, live)
    assert steps.slots == 10
    assert set(steps.history.labels) == set(range(6))
    assert identities(steps.history) == identities(TRAIN.of(list(range(6))))
    assert [set(update.labels) for update in steps.updates] == [{6, 7}, {8, 9}]
    for update in steps.updates:
        assert len(identities(update)) == len(update.labels) == live
        assert set(np.unique(update.labels, return_counts=True)[1]) == {live // 2}
        assert identities(update) <= identities(TRAIN)
    assert [identities(test) for test in steps.tests] == [identities(TEST.of(c)) for c in ([*range(6)], [6, 7], [8, 9])]


@given(seed=st.integers(0, 2**31 - 1), live=st.integers(1, 20).map(lambda n: 10 * n))
@settings(max_examples=10)
def test_shift_learns_changed_training_images_of_all_classes(seed, live):
    steps = shift(TRAIN, TEST, seed, live)
    assert identities(steps.history) == identities(TRAIN)
    (update,) = steps.updates
    assert np.bincount(update.labels).tolist() == [live // 10] * 10
    originals = shifted(TRAIN).inputs.reshape(600, -1)
    drawn = update.inputs.reshape(live, -1)
    assert all((originals == one).all(axis=1).any() for one in drawn[:5])
    assert [len(test.labels) for test in steps.tests] == [200, 200]
    np.testing.assert_array_equal(steps.tests[1].inputs, shifted(TEST).inputs)


@pytest.mark.parametrize("name", ["product", "shift", "one-by-one"])
def test_a_protocol_that_draws_images_is_a_function_of_its_seed(name):
    first, again, other = (PROTOCOLS[name](TRAIN, TEST, seed, live=20) for seed in (3, 3, 4))
    assert first.updates[0].inputs.tobytes() == again.updates[0].inputs.tobytes()
    assert first.updates[0].inputs.tobytes() != other.updates[0].inputs.tobytes()


def test_split_brings_all_images_of_two_more_classes_with_each_of_five_tasks():
    steps = PROTOCOLS["split-class"](TRAIN, TEST, 0)
    pairs = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert [identities(part) for part in (steps.history, *steps.updates)] == [identities(TRAIN.of(p)) for p in pairs]
    assert [identities(part) for part in steps.tests] == [identities(TEST.of(pair)) for pair in pairs]
    assert (steps.slots, steps.weights()) == (10, [1.0] * 5)


def test_split_by_domain_has_the_same_images_and_asks_which_of_the_two_it_is():
    by_class, by_domain = (PROTOCOLS[name](TRAIN, TEST, 0) for name in ("split-class", "split-domain"))
    assert by_domain.slots == 2
    parts = [(steps.history, *steps.updates, *steps.tests) for steps in (by_class, by_domain)]
    for of_class, of_domain in zip(*parts, strict=True):
        assert of_class.inputs.tobytes() == of_domain.inputs.tobytes()
        np.testing.assert_array_equal(of_domain.labels, of_class.labels - of_class.labels.min())


def test_one_by_one_brings_each_other_class_alone_with_live_training_images():
    steps = PROTOCOLS["one-by-one"](TRAIN, TEST, 0, live=20)
    assert set(steps.history.labels) == {0, 1}
    assert [set(update.labels) for update in steps.updates] == [{new} for new in range(2, 10)]
    assert all(len(identities(update) & identities(TRAIN)) == 20 for update in steps.updates)


def test_a_shifted_image_is_inverted_turned_by_30_degrees_and_blurred():
    image = np.full((28, 28), -1, np.float32)
    image[14, 22:25] = 1
    changed = shifted(Samples(image[None, None], np.zeros(1))).inputs[0, 0]
    np.testing.assert_allclose(changed[[0, 0, -1, -1], [0, -1, 0, -1]], 1, atol=1e-5)
    darkest = np.unravel_index(changed.argmin(), changed.shape)
    angle = -np.deg2rad(30)
    row, column = 13.5 + np.sin(angle) * 9.5 + np.cos(angle) * 0.5, 13.5 + np.cos(angle) * 9.5
    np.testing.assert_allclose(darkest, (row, column), atol=1)
    sharp = cv2.warpAffine(-image, cv2.getRotationMatrix2D((13.5, 13.5), 30, 1), (28, 28), borderValue=1.0)
    assert changed.min() > sharp.min()
    assert (1 - changed).sum() == pytest.approx((1 - sharp).sum(), rel=1e-3)


@given(share=st.floats(0.05, 0.5))
@settings(max_examples=10)
def test_validation_images_are_a_fixed_share_that_is_not_trained_on(share):
    train, held_out = validation_split(TRAIN, share)
    assert len(held_out.labels) == round(share * 600)
    assert not identities(train) & identities(held_out)
    assert identities(train) | identities(held_out) == identities(TRAIN)
    assert identities(validation_split(TRAIN, share)[1]) == identities(held_out)


def write_idx(folder, part, images, labels, compressed):
    content = {
        f"{part}-images-idx3-ubyte": struct.pack(">IIII", 2051, len(images), 28, 28) + images.tobytes(),
        f"{part}-labels-idx1-ubyte": struct.pack(">II", 2049, len(labels)) + labels.tobytes(),
    }
    for name, raw in content.items():
        path = folder / (f"{name}.gz" if compressed else name)
        path.write_bytes(gzip.compress(raw) if compressed else raw)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
def test_idx_files_are_read_as_inputs_between_minus_one_and_one(tmp_path, compressed):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(256, size=(7, 28, 28), dtype=np.uint8), rng.integers(10, size=7, dtype=np.uint8)
    write_idx(tmp_path, "t10k", images, labels, compressed)
    samples = read_idx(tmp_path, "t10k")
    np.testing.assert_allclose(samples.inputs[:, 0] * 127.5 + 127.5, images, atol=1e-4)
    np.testing.assert_array_equal(samples.labels, labels)
    with pytest.raises(FramesError, match="has no train-images-idx3-ubyte"):
        read_idx(tmp_path, "train")


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
def test_idx_files_that_were_cut_short_are_told(tmp_path, compressed):
    write_idx(tmp_path, "train", np.zeros((7, 28, 28), np.uint8), np.zeros(7, np.uint8), compressed)
    path = next(path for path in tmp_path.iterdir() if "images" in path.name)
    content = path.read_bytes()
    for left in (10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:left])
        with pytest.raises(FramesError, match="copy it again"):
            read_idx(tmp_path, "train")


def test_live_frames_of_a_protocol_name_their_classes_by_digit():
    frames = as_frames(TRAIN.of([6, 9]))
    assert frames.classes == ("6", "9")
    assert [frames.classes[at] for at in frames.labels] == [str(label) for label in TRAIN.of([6, 9]).labels]

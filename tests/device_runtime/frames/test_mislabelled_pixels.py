"""Beside a generator, frames that others contradict are set aside where they are more than honest frames ever were."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.frames.mislabelled import without_mislabelled
from reverie.device_runtime.frames.selection import Selection, Shown
from reverie.device_runtime.method.labelled import Frames
from reverie.tools.bench.frames import read_frames


@pytest.fixture(scope="module")
def clothes(pixel_models, repository):
    """200 images each of eight kinds, two of them new, that no solver was trained on."""
    return read_frames(
        repository / "models/fashion-demo/test", InputMaker(pixel_models.folder, pixel_models.manifest), 1
    )


def drawn(clothes, count, share, seed=0):
    """`count` frames of each kind, a `share` of them under any other label; and which (N,)."""
    rng = np.random.default_rng(seed)
    kinds = len(clothes.classes)
    rows = np.concatenate([rng.permutation(np.flatnonzero(clothes.labels == at))[:count] for at in range(kinds)])
    labels = clothes.labels[rows]
    wrong = rng.random(len(rows)) < share
    return Frames(
        clothes.inputs[rows], np.where(wrong, (labels + rng.integers(1, kinds, len(rows))) % kinds, labels),
        clothes.classes,
    ), wrong  # fmt: skip


def aside(models, frames):
    """Which (N,) of `frames` are set aside."""
    shown = [Shown(frames.classes[slot], f"frame {at}", bytes) for at, slot in enumerate(frames.labels)]
    selection = without_mislabelled(
        Selection(frames, list(range(len(shown)))), shown, models, UpdateConfig(), insisted=()
    )
    return np.isin(np.arange(len(shown)), list(selection.set_aside))


@pytest.mark.parametrize(("count", "share", "least"), [(20, 0.4, 0.35), (60, 0.2, 0.6), (60, 0.4, 0.35)])
def test_most_wrong_labels_are_found_and_most_right_ones_are_left(pixel_models, clothes, count, share, least):
    for seed in range(3):
        frames, wrong = drawn(clothes, count, share, seed)
        found = aside(pixel_models, frames)
        assert found[wrong].mean() > least
        assert found[~wrong].mean() < 0.2
        assert wrong[~found].mean() < wrong.mean()


@pytest.mark.parametrize("light", [0.7, 1.0, 1.3])
@pytest.mark.parametrize("count", [5, 20, 60])
def test_of_honest_frames_none_is_set_aside_in_any_light(pixel_models, clothes, count, light):
    for seed in range(3):
        frames, _ = drawn(clothes, count, 0.0, seed)
        shifted = frames._replace(inputs=np.clip((frames.inputs + 1) * light - 1, -1, 1).astype(np.float32))
        assert not aside(pixel_models, shifted).any()

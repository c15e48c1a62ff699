"""Training images are moved by a little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import FitConfig
from reverie.device_runtime.home import store
from reverie.device_runtime.method.augmentation import moved
from reverie.device_runtime.method.fit import fit, live_source
from reverie.device_runtime.method.labelled import extend_classes, split
from reverie.device_runtime.method.monitor import Monitor
from reverie.tools.bench.frames import read_frames


@given(st.integers(0, 2**31 - 1), st.integers(1, 3), st.integers(8, 40), st.integers(8, 40), st.floats(0, 0.3))
def test_each_image_is_seen_through_a_window_of_its_size_whose_edges_continue(seed, channels, height, width, share):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((5, channels, height, width), dtype=np.float32)
    result = moved(images, share, rng)
    assert result.shape == images.shape
    down, right = round(share * height), round(share * width)
    rows, columns = np.arange(height), np.arange(width)
    for image, seen in zip(images, result, strict=True):
        places = [
            image[:, np.clip(rows + y, 0, height - 1)][:, :, np.clip(columns + x, 0, width - 1)]
            for y in range(-down, down + 1)
            for x in range(-right, right + 1)
        ]
        assert any(np.array_equal(seen, place) for place in places)


def test_all_places_are_as_likely():
    image = np.zeros((9000, 1, 28, 28), np.float32)
    image[:, 0, 10, 10] = 1
    seen = moved(image, 0.04, np.random.default_rng(0))
    counts = seen.sum(axis=0)[0, 9:12, 9:12]
    assert counts.sum() == 9000
    assert np.abs(counts - 1000).max() < 150


def test_images_move_in_training_anew_in_each_step_and_the_same_way_for_the_same_seed(grown, live, monitor, same):
    source, config = live_source(grown, live, "one", 0, 1.0), FitConfig(batch=16, steps=3)
    config = replace(config, shift=0.1)  # 14x14 pixels
    trained = [fit(grown, [source], grown.active, config, seed, monitor) for seed in (0, 0, 1)]
    still = fit(grown, [source], grown.active, replace(config, shift=0.0), 0, monitor)
    assert same(trained[0], trained[1])
    assert not same(trained[0], trained[2])
    assert not same(trained[0], still)


def test_images_move_in_one_stage_as_they_did_not_in_another(grown, live, same):
    def trained(stage):
        with (monitor := Monitor()).stage(stage):
            return fit(grown, [source], grown.active, FitConfig(batch=16, steps=2, shift=0.1), 0, monitor)

    source = live_source(grown, live, "one", 0, 1.0)
    assert same(trained("retrain"), trained("retrain"))
    assert not same(trained("fine-tune"), trained("retrain"))


def test_features_of_a_backbone_are_not_moved(backbone_bundle, frames_folder, tmp_path, monitor, same):
    home = tmp_path / "home"
    models = store.load_models(home, installation.install(backbone_bundle, home))
    frames = read_frames(frames_folder, InputMaker(models.folder, models.manifest), 5)
    classes = extend_classes(models.classes, frames.classes, models.manifest.slots)
    source = live_source(models, split(frames, classes, 0.2, 0)[0], "live", 0, 1.0)
    active = np.ones(models.manifest.slots, np.float32)
    config = FitConfig(batch=8, steps=2)
    still, shifted = (fit(models, [source], active, replace(config, shift=shift), 0, monitor) for shift in (0.0, 0.9))
    assert same(still, shifted)

"""`reverie export --canary`: a few images of the known classes go with the bundle, as the solver's inputs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from reverie.device_runtime.bundle.canary import read_canary
from reverie.device_runtime.bundle.contents import fingerprint, read_manifest
from reverie.device_runtime.bundle.manifest import CANARY, MANIFEST
from reverie.device_runtime.bundle.preprocess import image_files
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.home import store
from reverie.export import canary as canary_module
from reverie.export.canary import add_canary


def pictures(folder, labels, shape, count=3):
    for at, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            image = np.random.default_rng([at, number]).integers(0, 256, shape, dtype=np.uint8)
            cv2.imwrite(str(folder / label / f"{number}.png"), image)


@pytest.fixture
def images(workspace):
    pictures(workspace / "canary", ("box", "cup"), (8, 8))
    return workspace / "canary"


def assert_shipped(bundle, images, labels):
    """What the box reads is what the box itself makes of the images, in half precision."""
    manifest = read_manifest(bundle)
    shipped = read_canary(bundle, manifest)
    files = [file for label in labels for file in image_files(images / label)]
    expected = InputMaker(bundle, manifest).read(files)
    np.testing.assert_allclose(shipped.inputs, expected, rtol=1e-3, atol=1e-3)
    assert [manifest.classes[slot] for slot in shipped.labels] == [file.parent.name for file in files]
    record = manifest.files[CANARY]
    assert (bundle / CANARY).stat().st_size == record.size


@pytest.mark.slow
def test_canary_images_are_in_the_bundle_and_in_a_home(own, images, reverie):
    bundle = own.export(canary="canary")
    assert_shipped(bundle, images, ("box", "cup"))
    assert "canary: " in reverie("inspect", bundle).out
    generation = installation.install(bundle, own.folder / "home")
    models = store.load_models(own.folder / "home", generation)
    assert len(read_canary(models.folder, models.manifest).labels) == 6


def test_what_is_no_folder_of_the_solvers_classes_is_refused_before_any_work(own, workspace, images, monkeypatch):
    assert "canary has no images" not in own.refuse(canary="none")
    assert "none has no images: give a folder" in own.refuse(canary="none")
    pictures(workspace / "others", ("cup", "pot"), (8, 8))
    assert "others/pot is no class of the solver: name the folders cup, box, pen" in own.refuse(canary="others")
    monkeypatch.setattr(canary_module, "MOST_BYTES", 5 * 2 * 64)
    assert "has 6 images: for inputs of this size, give at most 5" in own.refuse(canary="canary")
    assert images.exists()


def test_behind_a_backbone_their_features_are_shipped(backbone_bundle, test_folder, tmp_path):
    bundle = Path(shutil.copytree(backbone_bundle, tmp_path / "bundle"))
    manifest = read_manifest(bundle)
    for label in manifest.classes:
        shutil.copytree(test_folder / label, tmp_path / "canary" / label)
    add_canary(bundle, manifest, tmp_path / "canary")
    files = manifest.files | {CANARY: fingerprint((bundle / CANARY).read_bytes())}
    (bundle / MANIFEST).write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
    assert_shipped(bundle, tmp_path / "canary", sorted(manifest.classes))
    assert read_canary(bundle, read_manifest(bundle)).inputs.shape[1:] == (64,)

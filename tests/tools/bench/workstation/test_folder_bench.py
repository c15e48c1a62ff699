"""The accuracy bench on images of one's own, behind a backbone of one's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import own_backbones
import pytest

from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.errors import FramesError
from reverie.tools.bench import accuracy_start
from reverie.tools.bench.accuracy_command import ON_DATA, ON_IMAGES
from reverie.tools.bench.accuracy_start import OwnImages, begin_with_folder
from reverie.tools.bench.folder_protocols import FOLDER_PROTOCOLS, chain_tasks, in_new_light
from reverie.tools.bench.protocols import PROTOCOLS, product_tasks
from reverie.tools.bench.results import Run, load_runs, save_runs

LABELS = ("apple", "bolt", "cup", "dish", "egg")
IMAGES = 15


@pytest.fixture
def pictures(workspace):
    """Fifteen pictures of each label, of a colour of their own with noise."""
    shutil.copy(own_backbones.__file__, workspace / "my_backbones.py")
    for at, label in enumerate(LABELS):
        (workspace / "pictures" / label).mkdir(parents=True)
        for number in range(IMAGES):
            rng = np.random.default_rng([at, number])
            colour = np.array([60 * (at % 3), 90 * (at // 3), 180 * (at % 2)])
            image = colour + rng.integers(0, 60, (20, 24, 3))
            cv2.imwrite(f"pictures/{label}/{number}.png", image.astype(np.uint8))
    return workspace / "pictures"


@pytest.fixture
def in_this_process(monkeypatch):
    """Pretrain and export here, where tests share the traces of networks; one test shows that it is done apart."""
    monkeypatch.setattr(accuracy_start, "apart", lambda work, *given: work(*given))


def own(folder, solver="my_backbones:many", validation=False):
    return OwnImages(folder, validation, (16, 16), solver, None, "neck", 3, 2, {}, None)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("validation", [False, True])
def test_a_share_of_each_class_is_tested_and_never_learnt(pictures, tmp_path, validation):
    (tmp_path / "scratch").mkdir()
    measured = begin_with_folder(own(pictures, validation=validation), "product", None, 0, tmp_path / "scratch")
    steps = measured.steps
    assert measured.dataset == ("pictures validation" if validation else "pictures")
    assert measured.start.classes == LABELS[:3]
    assert [sorted(set(update.labels.tolist())) for update in steps.updates] == [[3], [4]]
    tested, learnt = 3, IMAGES - (6 if validation else 3)
    assert [len(test.labels) for test in steps.tests] == [3 * tested, tested, tested]
    assert [len(part.labels) for part in (steps.history, *steps.updates)] == [3 * learnt, learnt, learnt]
    features = {row.tobytes() for part in (steps.history, *steps.updates) for row in part.inputs}
    assert not features & {row.tobytes() for test in steps.tests for row in test.inputs}
    assert measured.start.manifest.backbone is not None
    assert steps.history.inputs.shape[1:] == measured.start.manifest.input_shape


def test_product_is_learnt_on_a_folder_of_images_behind_a_backbone(pictures, reverie):
    asked = ("bench", "accuracy", "--images", pictures, "--size", "16,16", "--solver", "my_backbones:many")
    more = (
        "--backbone-until",
        "neck",
        "--solver-epochs",
        300,
        "--gan-steps",
        20,
        "--seeds",
        1,
        "--output",
        "figures.json",
    )
    finished = reverie(*asked, *more, "--form", "joint", "--form", "ewc", "--form", "default")
    assert finished.code == 0, finished.err
    joint, ewc, default = load_runs(Path("figures.json"))
    for run in (joint, ewc, default):
        assert (run.dataset, run.protocol) == ("pictures", "product")
        assert run.weights == [9, 3, 3]
        assert run.matrix[0][0] > 0.6
    assert joint.overall(2) > 0.6
    assert not default.pictures
    assert default.coverage[-1] == {}  # Gaussians draw every class alike


@pytest.mark.usefixtures("in_this_process")
def test_grey_pictures_go_through_a_colour_backbone_if_that_is_stated(pictures, reverie):
    for file in pictures.rglob("*.png"):
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    asked = ("bench", "accuracy", "--images", pictures, "--size", "16,16", "--solver", "my_backbones:many")
    less = ("--backbone-until", "neck", "--solver-epochs", 1, "--gan-steps", 1, "--seeds", 1, "--form", "none")
    finished = reverie(*asked, *less)
    assert (finished.code, finished.out) == (1, "")
    assert "--colour" in finished.err
    assert reverie(*asked, *less, "--colour", "rgb").code == 0


@pytest.mark.parametrize(("classes", "tasks"), [(4, (2, 1, 1)), (5, (3, 1, 1)), (7, (4, 2, 1)), (10, (6, 2, 2))])
def test_three_fifths_of_the_classes_are_known_and_the_rest_comes_in_two_updates(classes, tasks):
    found = product_tasks(classes)
    assert tuple(len(task) for task in found) == tasks
    assert [slot for task in found for slot in task] == list(range(classes))


@pytest.mark.parametrize(("classes", "tasks"), [(9, (4, 1, 1, 1, 1, 1)), (81, (40, 9, 8, 8, 8, 8))])
def test_of_a_chain_half_of_the_classes_are_known_and_the_rest_comes_in_five_updates(classes, tasks):
    found = chain_tasks(classes)
    assert tuple(len(task) for task in found) == tasks
    assert [slot for task in found for slot in task] == list(range(classes))


@pytest.mark.parametrize(("tasks", "classes"), [(product_tasks, 3), (chain_tasks, 8)])
def test_too_few_classes_are_refused(tasks, classes):
    with pytest.raises(FramesError, match=f"{classes} classes are too few"):
        tasks(classes)


def rows(samples):
    return {row.tobytes() for row in samples.inputs}


@pytest.mark.usefixtures("in_this_process")
def test_few_learns_some_of_the_live_images_of_product(pictures, tmp_path):
    def begun(protocol):
        (tmp_path / protocol).mkdir()
        return begin_with_folder(own(pictures), protocol, tmp_path / "cache", 0, tmp_path / protocol)

    product, few = begun("product"), begun("few-5")
    assert few.protocol == "few-5"
    assert [len(update.labels) for update in few.steps.updates] == [5, 5]
    for whole, part in zip(product.steps.updates, few.steps.updates, strict=True):
        assert rows(part) < rows(whole)
    assert rows(few.steps.history) == rows(product.steps.history)
    assert list(map(rows, few.steps.tests)) == list(map(rows, product.steps.tests))


@pytest.mark.usefixtures("in_this_process")
def test_shift_brings_all_classes_again_in_new_light(pictures, tmp_path):
    (tmp_path / "scratch").mkdir()
    measured = begin_with_folder(own(pictures), "shift", None, 0, tmp_path / "scratch")
    steps, make = measured.steps, InputMaker(measured.start.folder, measured.start.manifest)
    assert measured.start.classes == LABELS
    (update,) = steps.updates
    assert np.bincount(update.labels).tolist() == [12] * 5
    before, after = steps.tests
    np.testing.assert_array_equal(before.labels, after.labels)
    changed = {make(in_new_light(read_image(file))).tobytes() for file in pictures.rglob("*.png")}
    assert len(rows(update) & rows(after)) == 0
    found = np.stack([np.frombuffer(row, np.float32) for row in sorted(changed)])
    for row in (*update.inputs, *after.inputs):
        assert np.abs(found - row).max(axis=1).min() < 1e-4
    assert not rows(before) & rows(after)


def test_in_new_light_an_image_is_darker_warmer_and_out_of_focus():
    image = np.zeros((200, 300, 3), np.uint8)
    image[:, 150:] = 200
    changed = in_new_light(image)
    assert changed[100, 290].tolist() == [70, 100, 120]
    edge = changed[100, 140:160, 1]
    assert edge[0] == 0
    assert (np.diff(edge.astype(int)) >= 0).all()
    assert len(set(edge)) > 5
    assert in_new_light(image[:, :, 0])[100, 290] == 100


def test_the_command_offers_the_protocols_that_there_are():
    assert tuple(PROTOCOLS) == ON_DATA
    assert tuple(FOLDER_PROTOCOLS) == ON_IMAGES


@pytest.mark.usefixtures("in_this_process")
def test_closed_forms_learn_behind_a_backbone_that_ends_before_the_last_layer(pictures, reverie):
    asked = ("bench", "accuracy", "--images", pictures, "--size", "16,16", "--solver", "my_backbones:many")
    more = (
        "--backbone-until",
        "head",
        "--solver-epochs",
        1,
        "--gan-steps",
        1,
        "--seeds",
        1,
        "--output",
        "figures.json",
    )
    finished = reverie(*asked, *more, "--protocol", "few-20", "--form", "slda")
    assert finished.code == 0, finished.err
    (run,) = load_runs(Path("figures.json"))
    assert (run.protocol, run.form) == ("few-20", "slda")
    assert run.overall(2) > 0.6


def test_other_images_or_options_are_another_measurement(pictures, reverie):
    digests = {own(pictures).digest(), own(pictures, "my_backbones:other").digest()}
    saved = Run("pictures", "product", "none", 0, [[1.0]], [1.0], [1.0], settings=own(pictures).digest())
    save_runs([saved], Path("figures.json"))
    shutil.copy(pictures / "egg/1.png", pictures / "egg/one more.png")
    digests.add(own(pictures).digest())
    assert len(digests) == 3
    asked = ("bench", "accuracy", "--images", pictures, "--size", "16,16", "--output", "figures.json")
    finished = reverie(*asked)
    assert (finished.code, finished.out) == (1, "")
    assert "figures.json holds runs of pictures with other images or options" in finished.err


@pytest.mark.usefixtures("in_this_process")
def test_a_cache_gives_what_was_pretrained_to_the_same_options_alone(pictures, tmp_path):
    cache, asked = tmp_path / "cache", own(pictures)

    def begun(name, own, protocol="product"):
        (tmp_path / name).mkdir()
        return begin_with_folder(own, protocol, cache, 0, tmp_path / name).pretrained

    first = begun("first", asked)
    assert first.parent == cache
    written = (first / "solver.safetensors").stat()
    assert begun("again", asked) == first
    assert (first / "solver.safetensors").stat() == written
    assert begun("few", asked, "few-5") == first
    other = begun("other", asked._replace(gan_steps=3))
    assert other != first
    assert (other / "solver.safetensors").is_file()


def test_either_files_or_a_folder_are_measured(reverie):
    for given in ((), ("--data", "a", "--images", "b")):
        finished = reverie("bench", "accuracy", *given)
        assert (finished.code, finished.out) == (2, "")
        assert "give either --data or --images" in finished.err

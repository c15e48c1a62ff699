"""Whatever is wrong with the input, a command ends with exit code 1 and one clear line, and changes nothing.

Each case makes something wrong and returns the command that meets it and words that the message must hold.
"""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from reverie.device_runtime.bundle.contents import fingerprint, read_manifest
from reverie.device_runtime.home.journal import Journal


@pytest.fixture
def own_frames(frames_folder, tmp_path):
    """Five images of each of the two new classes."""
    folder = tmp_path / "frames"
    for label in ("bag", "sneaker"):
        (folder / label).mkdir(parents=True)
        for file in sorted((frames_folder / label).iterdir())[:5]:
            shutil.copy(file, folder / label)
    return folder


@pytest.fixture
def box(reverie, own_bundle, own_frames, home, tmp_path, tree, edit_manifest):
    """All that a case needs: paths, and `refused`, which runs a command and checks how it ends."""

    class Box:
        bundle, frames, fresh = own_bundle, own_frames, tmp_path / "fresh"

        def __init__(self):
            self.home, self.edit = home, edit_manifest

        def refused(self, *arguments, says, noted_in_journal=False):
            before = tree(tmp_path)
            done = reverie(*arguments)
            assert done.code == 1, done
            assert len(done.err.splitlines()) == 1, done.err
            assert done.err.startswith("reverie: ")
            assert "Traceback" not in done.err
            assert str(says) in done.err
            after = tree(tmp_path)
            noted = {"home/journal.db": before.get("home/journal.db")} if noted_in_journal else {}
            assert after | noted == before

        def install_refused(self, says):
            self.refused("install", self.bundle, "--home", self.fresh, says=says)

        def update_refused(self, says, *more, **how):
            hurry = ("--max-minutes", "0.00001")  # so that a test which fails ends soon
            self.refused("update", "--frames", self.frames, "--home", self.home, *hurry, *more, says=says, **how)

        def first(self, label="bag"):
            return min((self.frames / label).iterdir())

    return Box()


@pytest.mark.parametrize(
    "name", ["manifest.json", "solver.onnx", "solver_train/training_model.onnx", "synthesis_noise.onnx"]
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_bundle_is_not_installed(box, name, damage):
    path = box.bundle / name
    content = path.read_bytes()
    middle = len(content) // 2
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:middle])
    elif damage == "altered":
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 128]) + content[middle + 1 :])
    box.install_refused(says=name)
    box.refused("inspect", box.bundle, says=name)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1, 2]", b'{"format": 1}', b"\xff\xfe", b"[" * 100_000], ids=range(6)
)
def test_a_manifest_that_is_none_is_refused(box, content):
    (box.bundle / "manifest.json").write_bytes(content)
    box.install_refused(says=box.bundle)


def test_an_unknown_format_version_is_refused(box):
    box.edit(box.bundle, format=3)
    box.install_refused(says="has format 3, this Reverie reads format 1 to 2: update Reverie")


def test_a_folder_that_is_empty_or_does_not_exist_is_no_bundle(box):
    box.refused("install", box.fresh, "--home", box.fresh, says="does not exist")
    box.fresh.mkdir()
    box.refused("install", box.fresh, "--home", box.fresh / "home", says="is no bundle")


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(40)], ids=["empty", "text", "broken"]
)
def test_an_unreadable_image_is_named(box, content):
    box.first().write_bytes(content)
    box.update_refused("bag/00.png is not a readable PNG or JPEG image")
    box.refused("predict", box.first(), "--home", box.home, says="is not a readable PNG or JPEG image")


def test_an_image_that_ends_early_is_named(box):
    content = box.first().read_bytes()
    box.first().write_bytes(content[: len(content) // 2])
    box.update_refused("bag/00.png is not a readable PNG or JPEG image")


def test_a_photograph_that_ends_early_is_named(box):
    """Half a JPEG decodes to half a picture over grey, which nobody wants to learn from."""
    encoded = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))[1].tobytes()
    box.first().unlink()
    (box.frames / "bag/half.jpg").write_bytes(encoded[: len(encoded) // 2])
    box.update_refused("bag/half.jpg is not a readable PNG or JPEG image")


def test_an_image_name_that_breaks_the_line_does_not_break_the_message(box):
    box.first().unlink()
    (box.frames / "bag/new\nline.png").write_bytes(b"no image")
    box.update_refused("is not a readable PNG or JPEG image")


def test_an_image_of_the_wrong_size_is_named_with_both_sizes(box, reverie):
    how = json.loads((box.bundle / "manifest.json").read_text(encoding="utf-8"))["preprocessing"]
    box.edit(box.bundle, preprocessing=how | {"resize": "exact"})
    assert reverie("install", box.bundle, "--home", box.fresh).code == 0
    box.home = box.fresh
    box.update_refused("bag/00.png is 28x28 pixels, the solver takes 14x14")
    box.refused("predict", box.first(), "--home", box.fresh, says="is 28x28 pixels")


def test_a_class_folder_without_images_is_named(box):
    (box.frames / "empty").mkdir()
    box.update_refused("empty has 0 PNG or JPEG images: at least 5 are needed")


def test_too_few_images_of_a_class_are_refused(box):
    box.first("sneaker").unlink()
    box.update_refused("sneaker has 4 PNG or JPEG images: at least 5 are needed")
    box.update_refused("bag has 5 PNG or JPEG images: at least 6 are needed", "--min-images", "6")


@pytest.mark.parametrize("label", ["a\x07b", "a\nb", "a\u2028b", " a", "x" * 65], ids=ascii)
def test_a_label_that_cannot_be_shown_is_refused(box, label):
    (box.frames / "bag").rename(box.frames / label)
    box.update_refused("cannot be a label")


def test_more_new_labels_than_spare_slots_are_refused(box):
    for label in ("cup", "box"):
        shutil.copytree(box.frames / "bag", box.frames / label)
    box.update_refused("4 new labels (bag, box, cup, sneaker) but 3 spare class slots")


@pytest.mark.parametrize("what", ["missing", "empty", "a file"])
def test_frames_that_are_no_folder_of_folders_are_refused(box, what):
    shutil.rmtree(box.frames)
    if what == "empty":
        box.frames.mkdir()
    elif what == "a file":
        box.frames.touch()
    box.update_refused(box.frames)


@pytest.mark.parametrize("what", ["missing", "empty", "a file", "foreign"])
def test_a_home_that_is_none_is_refused_by_every_verb(box, what):
    if what == "a file":
        box.fresh.touch()
    elif what != "missing":
        box.fresh.mkdir()
    if what == "foreign":
        (box.fresh / "notes.txt").touch()
    box.home = box.fresh
    box.update_refused("is not a Reverie home: run reverie install")
    box.refused("status", "--home", box.fresh, says="is not a Reverie home: run reverie install")
    box.refused("predict", box.first(), "--home", box.fresh, says="is not a Reverie home: run reverie install")


def test_installing_where_something_else_is_is_refused(box):
    box.refused("install", box.bundle, "--home", box.frames, says="exists and is not a Reverie home")
    box.refused("install", box.bundle, "--home", box.first(), says="exists and is not a Reverie home")


def test_installing_twice_is_refused(box):
    box.refused("install", box.bundle, "--home", box.home, says="serves generation 0000 already")


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe\x00", b"[]", b'{"files": [], "classes": []}', b"9999"], ids=range(6)
)
@pytest.mark.parametrize("name", ["current", "home.json", "generations/0000/generation.json"])
def test_a_damaged_home_is_refused_by_every_verb(box, name, content):
    (box.home / name).unlink()
    if content is not None:
        (box.home / name).write_bytes(content)
    box.update_refused(box.home)
    for command in (("status",), ("predict", box.first()), ("install", box.bundle)):
        box.refused(*command, "--home", box.home, says=box.home)


@pytest.mark.parametrize("network", ["generator", "solver"])
def test_a_loss_that_is_no_number_ends_the_update_and_the_generation_in_service_stays(box, reverie, network):
    """With weights of a generation that were overwritten by NaN, its hash included, so that only the loss shows it."""
    folder = box.home / "generations/0000"
    content = bytearray((folder / f"{network}.onnx").read_bytes())
    for place in read_manifest(box.bundle).tensors[network].values():
        size = 4 * int(np.prod(place.shape))
        content[place.offset : place.offset + size] = np.full(size // 4, np.nan, "<f4").tobytes()
    (folder / f"{network}.onnx").write_bytes(content)
    record = json.loads((folder / "generation.json").read_text(encoding="utf-8"))
    record["files"][f"{network}.onnx"] = vars(fingerprint(bytes(content)))
    (folder / "generation.json").write_text(json.dumps(record), encoding="utf-8")
    box.update_refused("is nan: the update stops and the solver in service stays", noted_in_journal=True)
    journal = Journal(box.home)
    assert [(u.outcome, "is nan" in u.message) for u in journal.updates()] == [("failed", True)]
    journal.close()
    if network == "generator":
        assert reverie("predict", box.first(), "--home", box.home).code == 0


def test_an_image_that_is_not_there_is_named(box):
    box.refused("predict", box.fresh, "--home", box.home, says="does not exist")
    (box.frames / "none").mkdir()
    box.refused("predict", box.frames / "none", "--home", box.home, says="holds no PNG or JPEG images")


def test_one_bad_image_among_good_ones_is_not_classified(box):
    (box.frames / "sneaker/zz.jpg").write_bytes(b"no image")
    box.refused("predict", box.frames / "sneaker/zz.jpg", "--home", box.home, says="zz.jpg is not a readable")

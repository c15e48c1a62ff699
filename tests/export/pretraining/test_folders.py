"""What people's folders really hold: hidden files, damaged images, other formats, classes that are numbers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from reverie.device_runtime.bundle.preprocess import find_images, image_names
from reverie.device_runtime.errors import ExportError
from reverie.export.pretraining.historical import find_historical, read_images


@pytest.fixture
def folder(tmp_path):
    """40 images each of cups and boxes."""
    rng = np.random.default_rng(0)
    for label in ("box", "cup"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for at in range(40):
            cv2.imwrite(str(tmp_path / "photos" / label / f"{at:04d}.png"), rng.integers(0, 256, (16, 12), np.uint8))
    return tmp_path / "photos"


def test_hidden_files_of_a_mac_are_no_images(folder):
    (folder / "cup/._0001.png").write_bytes(b"\0\5\x16\7 not an image")
    (folder / "cup/.DS_Store").write_bytes(b"\0")
    found = find_historical(folder, None)
    assert (len(found.files), found.passed_over) == (80, ())
    assert "._0001.png" not in image_names(folder / "cup")
    assert len(find_images(folder)) == 80


def test_single_damaged_images_are_counted_and_passed_over_and_their_labels_too(folder):
    (folder / "box/0000.png").write_bytes(b"")
    whole = (folder / "cup/0007.png").read_bytes()
    (folder / "cup/0007.png").write_bytes(whole[: len(whole) // 2])
    found = find_historical(folder, None)
    assert found.passed_over == ("2 images cannot be read and are passed over, box/0000.png first",)
    assert np.bincount(found.labels).tolist() == [39, 39]
    assert len(np.concatenate([*read_images(found)])) == 78


def test_many_damaged_images_are_refused_before_anything_is_trained(folder):
    for at in range(5):
        (folder / f"box/{at:04d}.png").write_bytes(b"")
    with pytest.raises(ExportError, match=r"5 of 80 images in .*photos cannot be read, .*box/0000.png first"):
        find_historical(folder, None)


def test_images_in_other_formats_are_told_with_their_number(folder):
    for name in ("a.webp", "b.webp", "c.BMP", "notes.txt"):
        (folder / "cup" / name).write_bytes(b"RIFF")
    (told,) = find_historical(folder, None).passed_over
    assert told == "images in other formats are passed over (1 .bmp, 2 .webp): convert them to PNG or JPEG"
    for image in (folder / "cup").glob("*.png"):
        image.unlink()
    with pytest.raises(ExportError, match=r"cup holds 0 PNG or JPEG images beside 1 .bmp, 2 .webp: at least 2"):
        find_historical(folder, None)


def test_classes_that_are_numbers_are_in_the_order_of_numbers(folder):
    for name, number in (("box", "10"), ("cup", "2")):
        (folder / name).rename(folder / number)
    assert find_historical(folder, None).classes == ("2", "10")
    (folder / "10").rename(folder / "a10")
    assert find_historical(folder, None).classes == ("2", "a10")


def test_pretrain_says_what_it_passed_over(reverie, folder, tmp_path):
    (folder / "box/0000.png").write_bytes(b"")
    (folder / "box/b.webp").write_bytes(b"RIFF")
    quick = ("--solver-epochs", 1, "--gan-steps", 1)
    done = reverie("pretrain", folder, "--output", tmp_path / "trained", "--size", "8,8", *quick)
    assert done.code == 0, done
    said = " ".join(done.out.split())
    assert "1 images cannot be read and are passed over, box/0000.png first" in said
    assert "passed over (1 .webp)" in said

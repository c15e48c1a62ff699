"""`reverie report`: a file for any generation that asks for nothing, survives any label and shows no frame unasked."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from html import escape

import cv2
import numpy as np
import pytest
from html_check import checked, embedded
from judged import serves

from reverie.device_runtime.bundle.preprocess import find_images, image_to_input, input_to_image
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.changes import installation
from reverie.device_runtime.home import store
from reverie.device_runtime.home.pictures import picture_of_classes

pytest.importorskip("matplotlib", reason="plots are made by the extra `report`")
from reverie.tools.report.page import page

pytestmark = pytest.mark.usefixtures("few_steps")

HURRY = ("--max-minutes", "0.00001")
HOSTILE = '<script>alert("1")</script>&amp; \'$x_1$ %s {0}'


def learn(reverie, home, frames_folder, *options):
    done = reverie("update", "--home", home, "--frames", frames_folder, *HURRY, *options)
    assert done.code == 0, done


@pytest.fixture
def report(reverie, tmp_path):
    """Run the command; the file's text."""

    def run(home, *options):
        output = tmp_path / "report.html"
        done = reverie("report", "--home", home, "--output", output, *options)
        assert done.code == 0, done
        return output.read_text("utf-8")

    return run


def figures(labels):
    """A report of an update that learnt `labels`."""
    counts = {when: {label: {label: 2} for label in labels} for when in ("before", "after")}
    stage = {"losses": [2.0, 1.0], "steps": 2, "seconds": 1.5, "peak_bytes": 1 << 20}
    classes = [{"label": x, "frames": 9, "held_out": 2, "before": None, "after": 0.5} for x in labels]
    return {"classes": classes, "confusion": counts, "agreement": 0.9, "stages": {"fine-tune": stage}}


def test_generation_0_shows_its_classes_and_how_it_remembers_them(report, home, models):
    text = report(home)
    parsed = checked(text)
    assert "as it came with the bundle" in parsed.text
    assert embedded(text, "png") == [picture_of_classes(models)]
    assert "What it learnt" not in parsed.text


@pytest.mark.usefixtures("anything_serves")
@pytest.mark.parametrize("form", ["default", "literal"])
def test_an_update_is_told_with_plots_pictures_checks_cost_settings_and_history(
    report, reverie, home, frames_folder, form
):
    learn(reverie, home, frames_folder, *(["--literal"] if form == "literal" else []))
    text = report(home)
    parsed = checked(text)
    for heading in ("What it learnt", "Is it fit to serve?", "The generator", "Time and memory", "History"):
        assert heading in parsed.text, heading
    assert text.count("<svg") == 3  # in such a hurry no loss has a second point
    assert "max_minutes" in parsed.text
    generation = store.read_generation(home)
    generated = picture_of_classes(store.load_models(home, generation))
    assert embedded(text, "png") == [generated, store.read_picture(home, generation)]
    assert "in service" in parsed.text
    assert "kept, not in service" in checked(report(home, "--generation", "0000")).text


def test_a_rejected_generation_is_told_with_the_reasons(report, reverie, home, frames_folder):
    assert reverie("update", "--home", home, "--frames", frames_folder, *HURRY).code == 1
    text = report(home, "--generation", "0001")
    parsed = checked(text)
    reasons = store.read_report(home, "0001")["promotion"]["reasons"]
    assert all(reason in parsed.text for reason in reasons)
    assert "It was not fit to serve" in parsed.text
    assert len(embedded(text, "png")) == 1


@pytest.mark.usefixtures("anything_serves")
def test_no_frame_is_in_it_unless_it_is_asked_for(report, reverie, home, frames_folder, models):
    how = models.manifest.preprocessing
    assert reverie("add", "--home", home, "--label", "cup", frames_folder / "bag").code == 0
    learn(reverie, home, frames_folder, "--keep-frames")
    files = find_images(frames_folder)
    shrunk = [input_to_image(image_to_input(read_image(file), how), how) for file in files]
    live = np.stack(shrunk).astype(float).reshape(len(files), -1)

    def nearest(pictures):
        """Grey levels between any frame and the tile that is most like one."""
        found = []
        for picture in pictures:
            image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)[::2, ::2]
            rows, columns = image.shape[0] // 14, image.shape[1] // 14
            tiles = image.reshape(rows, 14, columns, 14).swapaxes(1, 2).reshape(-1, 14 * 14).astype(float)
            found += [np.abs(live - tile).mean(axis=1).min() for tile in tiles]
        return min(found)

    unasked = report(home)
    assert embedded(unasked, "jpeg") == []
    assert nearest(embedded(unasked, "png")) > 5
    assert nearest([cv2.imencode(".png", shrunk[0].repeat(2, 0).repeat(2, 1))[1].tobytes()]) == 0
    for file in files:
        assert base64.b64encode(file.read_bytes()[:60]).decode() not in unasked
    asked = report(home, "--include-frames")
    assert len(embedded(asked, "jpeg")) > 20
    assert "cup" in checked(asked).text


def test_a_file_with_frames_is_for_its_owner_only(report, reverie, home, frames_folder, tmp_path):
    assert reverie("add", "--home", home, "--label", "cup", frames_folder / "bag").code == 0
    report(home, "--include-frames")
    assert oct((tmp_path / "report.html").stat().st_mode & 0o777) == "0o600"


def test_after_a_purge_it_shows_that_there_is_none(report, reverie, home, frames_folder):
    assert reverie("add", "--home", home, "--label", "cup", frames_folder / "bag").code == 0
    assert reverie("purge", "--home", home, "--all").code == 0
    text = report(home, "--include-frames")
    assert "The home holds none." in checked(text).text
    assert embedded(text, "jpeg") == []


def test_frames_of_an_encrypted_home_are_shown_when_asked(report, reverie, bundle, frames_folder, tmp_path):
    home = tmp_path / "sealed"
    assert reverie("install", bundle, "--home", home, "--encrypt").code == 0
    assert reverie("add", "--home", home, "--label", "cup", frames_folder / "bag").code == 0
    assert embedded(report(home), "jpeg") == []
    assert len(embedded(report(home, "--include-frames"), "jpeg")) > 5


def test_behind_a_backbone_it_says_why_there_are_no_pictures(report, backbone_bundle, tmp_path):
    home = tmp_path / "box"
    installation.install(backbone_bundle, home)
    text = report(home)
    assert "features of its backbone" in checked(text).text
    assert embedded(text, "png") == []


def test_a_label_is_a_text_wherever_it_stands(shown):
    generation = replace(shown.generation, classes=(HOSTILE, "b"))
    decision = {"promoted": False, "reasons": [HOSTILE], "checks": [], "generator": {"promoted": False, "checks": []}}
    decision["checks"] = [{"name": HOSTILE, "measured": 0.5, "bound": 0.9, "passed": False, "says": HOSTILE}]
    decision["generator"]["without_replay"] = [HOSTILE]
    told = figures([HOSTILE, "b"]) | {"promotion": decision, "set_aside": {HOSTILE: {HOSTILE: 3}}}
    told |= {"synthesised": [HOSTILE], "config": {"seed": HOSTILE}}
    pictures = {"generated": b"x", "synthesised": b"x", "frames": [(HOSTILE, HOSTILE, b"x")]}
    text = page(replace(shown, home=HOSTILE, generation=generation, report=told, **pictures))
    assert HOSTILE in checked(text).text
    assert "<script" not in text
    assert escape(HOSTILE) in text


@pytest.mark.parametrize("label", ["雪と氷", "naïve ☕", "a" * 64, "$", r"\frac", "_x"])
def test_odd_labels_are_drawn(shown, label):
    assert checked(page(replace(shown, report=figures([label])))).text.count(label[:20]) >= 3


def test_40_classes_have_a_row_each_and_a_confusion_matrix_and_41_no_matrix(shown):
    labels = [f"thing {at}" for at in range(41)]
    many = page(replace(shown, report=figures(labels[:40])))
    assert {f">{label}<" for label in labels[:40]} <= set(re.findall(r">thing \d+<", many))
    assert {"Losses", "Time and memory"} <= set(re.findall(r"<h2>(.*?)</h2>", many))
    checked(many)
    assert page(replace(shown, report=figures(labels))).count("<svg") == many.count("<svg") - 1


def test_a_report_of_before_there_was_a_confusion_matrix_is_told_without(shown):
    told = figures(["cup"])
    del told["confusion"]
    assert checked(page(replace(shown, report=told))).text.count("taken for") == 0


def test_labels_without_held_out_frames_have_no_figures(shown):
    told = figures(["cup"])
    told["classes"][0] |= {"held_out": 0, "after": None}
    told["confusion"] = {"before": {"cup": {}}, "after": {"cup": {}}}
    assert "–" in checked(page(replace(shown, report=told))).text


@pytest.mark.parametrize("content", ["{", "[]", '{"classes": 3}', '{"classes": [{}], "stages": {}}', '"text"'])
def test_a_damaged_report_is_told_in_one_line(reverie, home, updated, content, tmp_path):
    store.add_generation(home, store.read_generation(home), updated.models, serves({"x": 1}))
    (home / "generations/0001/report.json").write_text(content)
    done = reverie("report", "--home", home, "--output", tmp_path / "r.html")
    assert (done.code, len(done.err.splitlines())) == (1, 1), done
    assert "report.json" in done.err
    assert "damaged" in done.err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.usefixtures("anything_serves")
def test_a_damaged_picture_is_told_in_one_line(reverie, home, frames_folder, tmp_path):
    learn(reverie, home, frames_folder)
    (home / "generations/0001/synthesised.png").write_bytes(b"damaged")
    done = reverie("report", "--home", home, "--output", tmp_path / "r.html")
    assert (done.code, len(done.err.splitlines())) == (1, 1), done
    assert "synthesised.png" in done.err


@pytest.mark.parametrize("name", ["0009", "../0000", "0000.rejected", ""])
def test_a_generation_that_is_not_there_is_told_with_those_that_are(reverie, home, name, tmp_path):
    done = reverie("report", "--home", home, "--generation", name, "--output", tmp_path / "r.html")
    assert (done.code, len(done.err.splitlines())) == (1, 1), done
    assert "choose one of 0000" in done.err


def test_a_file_that_cannot_be_written_leaves_what_was_there(reverie, home, tmp_path):
    for output in (tmp_path / "missing/r.html", tmp_path):
        done = reverie("report", "--home", home, "--output", output)
        assert (done.code, len(done.err.splitlines())) == (1, 1), done
    assert {path.name for path in tmp_path.iterdir()} == {"home"}
    assert {path.name for path in tmp_path.parent.iterdir() if "partial" in path.name} == set()


def test_the_same_home_gives_the_same_file(report, home, shown):
    assert report(home) == report(home)
    told = replace(shown, report=json.loads(json.dumps(figures(["a", "b"]))))
    assert page(told) == page(told)


def test_a_home_copied_elsewhere_is_reported_without_being_changed(report, home, tree, tmp_path):
    copy = shutil.copytree(home, tmp_path / "copy")
    before = tree(copy)
    report(copy)
    assert tree(copy) == before

"""The verbs from install to predict, on real files, as people and as programs see them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from judged import serves

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.home import store
from reverie.device_runtime.method.monitor import STAGES
from reverie.tools.bench.frames import read_frames
from reverie.tools.cli import VERBS

pytestmark = pytest.mark.usefixtures("anything_serves", "few_steps")


@pytest.fixture(scope="module")
def in_a_hurry():
    """A time limit that every stage exceeds in its first step."""
    return ("--max-minutes", "0.00001")


def test_install_update_predict_and_status_fit_together(
    reverie, bundle, frames_folder, test_folder, tmp_path, in_a_hurry
):
    home = tmp_path / "home"
    done = reverie("install", bundle, "--home", home)
    assert (done.code, done.out) == (0, f"{home} serves generation 0000: sandal, t-shirt, trouser\n")
    done = reverie("update", "--frames", frames_folder, "--home", home, *in_a_hurry)
    assert done.code == 0, done
    assert f"now serves generation 0001: {', '.join(store.read_generation(home).classes)}" in " ".join(done.out.split())
    assert all(stage in done.out for stage in STAGES)
    done = reverie("predict", test_folder, "--home", home)
    assert (done.code, len(done.out.splitlines())) == (0, 100)
    done = reverie("status", "--home", home)
    assert "generation 0001 of format-2" in done.out
    assert "spare slots: 1" in done.out


def test_predict_prints_one_json_object_a_line_for_every_image_below_a_folder(reverie, home, test_folder, models):
    done = reverie("predict", test_folder, "--home", home, "--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["file"] for line in lines] == [str(p) for p in sorted(test_folder.rglob("*.png"))]
    tested = read_frames(test_folder, InputMaker(models.folder, models.manifest), 1)
    logits = models.solver_graph.run({"input": tested.inputs})["logits"][:, :3].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for line, row in zip(lines, expected, strict=True):
        np.testing.assert_allclose([line["probabilities"][label] for label in models.classes], row, atol=1e-6)
        assert line["label"] == models.classes[int(row.argmax())]
        assert line["probability"] == pytest.approx(row.max(), abs=1e-6)


def test_predict_says_for_people_what_it_says_for_programs(reverie, home, test_folder):
    images = sorted((test_folder / "trouser").iterdir())[:3]
    lines = reverie("predict", *images, "--home", home).out.splitlines()
    for image, text, line in zip(
        images, lines, reverie("predict", *images, "--home", home, "--json").out.splitlines(), strict=True
    ):
        values = json.loads(line)
        assert text == f"{image}: {values['label']} {values['probability']:.1%}"


def test_predict_passes_over_an_image_that_cannot_be_read_and_says_so(reverie, home, test_folder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    good = sorted((test_folder / "trouser").iterdir())[:2]
    done = reverie("predict", good[0], tmp_path / "broken.png", good[1], "--home", home)
    assert [line.split(": ")[0] for line in done.out.splitlines()] == [str(path) for path in good]
    assert done.code == 1
    assert "broken.png is not a readable" in done.err


def test_after_an_update_predict_uses_the_new_generation(reverie, home, updated, test_folder):
    bags = test_folder / "bag"
    before = [json.loads(line)["label"] for line in reverie("predict", bags, "--home", home, "--json").out.splitlines()]
    store.add_generation(home, store.read_generation(home), updated.models, serves(updated.report.to_json()))
    after = [json.loads(line)["label"] for line in reverie("predict", bags, "--home", home, "--json").out.splitlines()]
    assert "bag" not in before
    assert after.count("bag") > 0.7 * len(after)


@pytest.mark.parametrize("form", [(), ("--literal",)])
def test_update_prints_nothing_but_json_on_stdout_for_programs(reverie, home, frames_folder, in_a_hurry, form):
    done = reverie("update", "--frames", frames_folder, "--home", home, "--json", "--seed", "3", *in_a_hurry, *form)
    assert done.code == 0, done
    values = json.loads(done.out)
    assert values["name"] == store.current(home) == "0001"
    assert list(values["report"]["stages"]) == list(STAGES)
    assert values["report"]["config"]["seed"] == 3
    assert values["report"]["config"]["replay"]["soft_labels"] == (form == ())
    assert values["report"] == store.read_report(home, "0001")


def test_status_before_and_after_an_update_is_json_for_programs(reverie, home, updated):
    before = json.loads(reverie("status", "--home", home, "--json").out)
    assert (before["name"], before["spare_slots"], before["report"]) == ("0000", 3, None)
    report = updated.report.to_json()
    store.add_generation(home, store.read_generation(home), updated.models, serves(report))
    after = json.loads(reverie("status", "--home", home, "--json").out)
    assert (after["name"], after["parent"], after["spare_slots"]) == ("0001", "0000", 1)
    assert after["generations"] == ["0000", "0001"]
    assert after["report"] == json.loads(json.dumps(report))


def test_install_and_inspect_print_json_for_programs(reverie, bundle, tmp_path):
    values = json.loads(reverie("install", bundle, "--home", tmp_path / "home", "--json").out)
    assert values["classes"] == list(read_manifest(bundle).classes)
    assert reverie("inspect", bundle, "--json").out == read_manifest(bundle).to_json()


def test_inspect_shows_what_the_bundle_holds(reverie, bundle):
    shown = reverie("inspect", bundle).out
    assert "canary: none" in shown
    assert "input: grey image stretched to 14x14 (auto), (pixel - 127.5) / 127.5, chw" in shown
    manifest = read_manifest(bundle)
    assert all(label in shown for label in manifest.classes)
    assert all(artifact in shown for artifact in manifest.parity)
    for model, tensors in manifest.tensors.items():
        count = sum(int(np.prod(t.shape)) for name, t in tensors.items() if name != "active")
        assert model in shown
        assert f"{count:,}" in shown


def test_inspect_shows_the_statistics_that_stand_beside_a_generator(reverie, repository):
    shown = " ".join(reverie("inspect", repository / "models/format-2-hidden/bundle").out.split())
    assert "parameters (100.0%)" in shown
    assert "statistics of the 128 values of each class that enter its last layer" in shown


def test_the_home_can_come_from_the_environment(reverie, home, monkeypatch):
    monkeypatch.setenv("REVERIE_HOME", str(home))
    assert json.loads(reverie("status", "--json").out)["name"] == "0000"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("status",),
        ("purge", "--home", "x"),
        ("purge", "--home", "x", "--all", "--label", "cup"),
        ("purge", "--home", "x", "--before", "yesterday"),
        ("add", "--home", "x", "--label", "cup"),
        ("update", "--home", "x", "--frames", "x", "--min-images", "1"),
        ("update", "--home", "x", "--frames", "x", "--max-minutes", "0"),
        ("update", "--home", "x", "--frames", "x", "--seed", "-1"),
        ("predict", "--home", "x"),
        ("status", "--home", "x", "--unknown"),
        ("install", "a", "b", "--home", "x"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_shows_the_usage(reverie, arguments, monkeypatch):
    monkeypatch.delenv("REVERIE_HOME", raising=False)
    done = reverie(*arguments)
    assert done.code == 2
    assert "Usage: " in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_each_of_its_options_is_there(reverie, verb):
    done = reverie(verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: ")
    assert len(done.out.split("\n\n")[1].split()) > 3
    assert VERBS[verb] in " ".join(reverie("--help").out.split())

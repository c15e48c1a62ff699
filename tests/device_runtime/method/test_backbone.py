"""Behind a backbone everything is on features, by the same code; needs no torch."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from judged import serves

from reverie.device_runtime.bundle.contents import fingerprint, read_manifest
from reverie.device_runtime.bundle.manifest import Backbone
from reverie.device_runtime.bundle.preprocess import find_images, image_to_input
from reverie.device_runtime.camera.images import read_image
from reverie.device_runtime.camera.inputs import CHUNK, InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import PromotionConfig, UpdateConfig
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.errors import BundleError, FramesError, ReverieError
from reverie.device_runtime.frames.selection import select, shown_in
from reverie.device_runtime.home import store
from reverie.device_runtime.home.pictures import picture_of_classes
from reverie.device_runtime.method import synthesis
from reverie.device_runtime.method.comparison import accuracy
from reverie.device_runtime.method.labelled import extend_classes
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update
from reverie.device_runtime.promotion.decision import decide
from reverie.device_runtime.promotion.evaluation import evaluate
from reverie.device_runtime.serving.predictor import Predictor
from reverie.tools.bench.frames import read_frames

KNOWN, NEW = ("sandal", "t-shirt", "trouser"), ("bag", "sneaker")


@pytest.fixture(scope="module")
def box(backbone_bundle, tmp_path_factory):
    """A home that serves the bundle with a backbone; only read."""
    home = tmp_path_factory.mktemp("backbone") / "home"
    installation.install(backbone_bundle, home)
    return home


@pytest.fixture
def own_box(box, tmp_path):
    return shutil.copytree(box, tmp_path / "home")


@pytest.fixture(scope="module")
def on_features(box):
    return store.load_models(box, store.read_generation(box))


@pytest.fixture(scope="module")
def make(on_features):
    return InputMaker(on_features.folder, on_features.manifest)


@pytest.fixture(scope="module")
def feature_frames(make, frames_folder):
    return read_frames(frames_folder, make, 5)


@pytest.fixture(scope="module")
def learnt(on_features, feature_frames):
    return run_update(on_features, feature_frames, UpdateConfig(), Monitor())


def test_inputs_are_the_features_that_the_backbone_makes_of_preprocessed_images(make, on_features, frames_folder):
    files = find_images(frames_folder)[: CHUNK + 3]
    how = on_features.manifest.preprocessing
    images = np.stack([image_to_input(read_image(file), how) for file in files])
    backbone = Graph((on_features.folder / "backbone.onnx").read_bytes())
    features = make.read(files)
    assert images.shape[1:] == (1, 14, 14)
    assert features.shape == (len(files), 64) == (len(files), *on_features.manifest.input_shape)
    np.testing.assert_allclose(features, backbone.run({"image": images})["features"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(make(read_image(files[-1])), features[-1], rtol=1e-4, atol=1e-5)


def test_each_frame_passes_the_backbone_once_and_few_at_a_time(
    on_features, frames_folder, monkeypatch, quick, tmp_path
):
    passed = []
    run = Graph.run

    def counted(graph, feeds):
        if "image" in feeds:
            passed.append(len(feeds["image"]))
        return run(graph, feeds)

    monkeypatch.setattr(Graph, "run", counted)
    heard = []
    frames = select(
        shown_in(frames_folder, 5),
        InputMaker(on_features.folder, on_features.manifest),
        on_features.solver_graph,
        on_features.classes,
        quick,
        tmp_path,
        lambda at, of: heard.append((at, of)),
    ).frames
    run_update(on_features, frames, quick, Monitor())
    total = len(find_images(frames_folder))
    assert sum(passed) == total == len(frames.inputs)
    assert max(passed) <= CHUNK
    assert heard[-1] == (total, total)


def test_what_a_box_predicts_is_the_solver_on_the_features(box, make, on_features, test_folder):
    predictor = Predictor(box)
    for file in find_images(test_folder)[::20]:
        probabilities = on_features.solver_graph.run({"input": make(read_image(file))[None]})["probabilities"][0, :3]
        seen = predictor.predict(read_image(file), file)
        np.testing.assert_allclose(list(seen.probabilities.values()), probabilities, atol=1e-6)


def test_an_update_on_features_learns_new_classes_and_keeps_the_known_ones(
    learnt, on_features, make, test_folder, feature_frames
):
    tested = read_frames(test_folder, make, 1)
    classes = extend_classes(on_features.classes, feature_frames.classes, on_features.manifest.slots)
    slots = np.array([classes.index(tested.classes[at]) for at in tested.labels])
    known, new = (np.isin(slots, [classes.index(label) for label in labels]) for labels in (KNOWN, NEW))
    assert accuracy(on_features, tested.inputs[new], slots[new]) == 0
    assert accuracy(learnt.models, tested.inputs[new], slots[new]) > 0.5
    before = accuracy(on_features, tested.inputs[known], slots[known])
    assert accuracy(learnt.models, tested.inputs[known], slots[known]) > before - 0.1
    assert learnt.synthesised.shape[1:] == (64,)


def test_the_literal_form_runs_on_features(on_features, feature_frames, quick):
    updated = run_update(on_features, feature_frames, quick.literal(), Monitor())
    assert np.isfinite(updated.synthesised).all()


def test_a_random_start_of_the_search_spreads_as_features_do(on_features, quick):
    config = replace(quick.literal().synthesis, steps=0)
    start = synthesis._start(on_features, config, np.random.default_rng(0), np.zeros(4000, np.int64))
    np.testing.assert_allclose(start.std(axis=0), on_features.manifest.spread, rtol=0.1, atol=1e-6)
    assert np.square(on_features.manifest.spread).mean() == pytest.approx(1, rel=1e-4)


def test_a_generation_learnt_on_features_is_served(own_box, learnt, test_folder):
    store.add_generation(own_box, store.read_generation(own_box), learnt.models, serves(learnt.report.to_json()))
    predictor = Predictor(own_box)
    labels = [predictor.predict(read_image(file)).label for file in find_images(test_folder / "bag")]
    assert predictor.generation.name == "0001"
    assert labels.count("bag") > len(labels) / 2


def test_status_and_inspect_say_what_the_backbone_is(reverie, box, backbone_bundle, bundle, installed):
    for done in (reverie("status", "--home", box), reverie("inspect", backbone_bundle)):
        assert "until 13; inputs are its features, 64" in " ".join(done.out.split())
    for done in (reverie("status", "--home", installed), reverie("inspect", bundle)):
        assert "backbone" not in done.out
    for home, until, shape in ((box, "13", [64]), (installed, None, [1, 14, 14])):
        values = json.loads(reverie("status", "--home", home, "--json").out)
        assert (values["backbone"], values["input_shape"]) == (until, shape)


def test_features_are_no_pictures(reverie, box, on_features, tmp_path):
    with pytest.raises(ReverieError, match="generates features of its backbone"):
        picture_of_classes(on_features)
    done = reverie("status", "--home", box, "--picture", tmp_path / "picture.png")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert not (tmp_path / "picture.png").exists()


def test_a_frame_that_cannot_be_read_is_named(make, frames_folder, tmp_path):
    folder = shutil.copytree(frames_folder, tmp_path / "frames")
    (folder / "sneaker" / "zz.png").write_bytes(b"no image")
    with pytest.raises(FramesError, match=r"sneaker/zz\.png is not a readable"):
        read_frames(folder, make, 5)


@pytest.fixture
def damaged(backbone_bundle, tmp_path):
    return shutil.copytree(backbone_bundle, tmp_path / "damaged")


def test_a_backbone_that_is_missing_or_altered_is_neither_installed_nor_run(damaged, own_box, tmp_path):
    (damaged / "backbone.onnx").unlink()
    with pytest.raises(BundleError, match=r"backbone\.onnx"):
        installation.install(damaged, tmp_path / "fresh")
    (path,) = own_box.glob("bundles/*/backbone.onnx")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match=r"backbone\.onnx was altered"):
        Predictor(own_box)


STATED = {"until": "13", "mean": [0.0] * 64, "variance": [1.0] * 64}


@pytest.mark.parametrize(
    "stated",
    [
        None,
        {"until": "13"},
        STATED | {"until": 3},
        STATED | {"mean": [0.0] * 3, "variance": [1.0] * 3},
        STATED | {"variance": [1.0] * 63},
        STATED | {"variance": [-1.0] * 64},
        STATED | {"mean": [float("nan")] * 64},
        STATED | {"mean": "many"},
        [],
        "13",
    ],
    ids=str,
)
def test_a_backbone_that_is_not_stated_as_it_must_be_is_refused(damaged, edit_manifest, stated):
    edit_manifest(damaged, backbone=stated)
    with pytest.raises(BundleError, match="is not a complete manifest"):
        read_manifest(damaged)


def test_a_backbone_that_is_stated_but_not_there_is_refused(own_bundle, edit_manifest):
    edit_manifest(own_bundle, backbone=STATED | {"mean": [], "variance": []})
    with pytest.raises(BundleError, match=r"it lacks backbone\.onnx"):
        read_manifest(own_bundle)


def test_a_bundle_without_a_backbone_loads_as_ever(repository):
    bundle = repository / "models/format-1/bundle"
    manifest = read_manifest(bundle)
    assert manifest.backbone is None
    np.testing.assert_array_equal(manifest.spread, 1)
    assert "backbone" not in json.loads((bundle / "manifest.json").read_text("utf-8"))


def test_the_statistics_in_the_manifest_are_those_of_the_graph(on_features, make, frames_folder):
    """Raw features of a ReLU are never negative; taking scale and mean back out must give such."""
    described = on_features.manifest.backbone
    raw = make.read(find_images(frames_folder)) * described.scale + np.asarray(described.mean, np.float32)
    assert raw.min() > -1e-4
    assert raw.max() > 0
    assert Backbone("13").scale == 1.0
    assert (
        fingerprint((on_features.folder / "backbone.onnx").read_bytes()) == on_features.manifest.files["backbone.onnx"]
    )


def test_an_honest_update_on_features_is_fit_to_serve_with_its_generator(on_features, learnt):
    figures = evaluate(on_features, learnt.models, learnt.compared)
    decision = decide(figures, PromotionConfig(latency_ratio=1e9))
    assert decision.promoted, decision.reasons
    assert decision.generator_promoted

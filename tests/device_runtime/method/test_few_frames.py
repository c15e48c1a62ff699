"""New classes of few frames begin near a discriminant of what enters the last layer; of many, all is as it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from reverie.device_runtime.bundle.contents import fingerprint, read_manifest
from reverie.device_runtime.bundle.manifest import MANIFEST, STATISTICS
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import BundleError, FramesError
from reverie.device_runtime.home import store
from reverie.device_runtime.method import few_frames
from reverie.device_runtime.method.comparison import predict
from reverie.device_runtime.method.few_frames import ENOUGH
from reverie.device_runtime.method.fit import Live
from reverie.device_runtime.method.labelled import Frames, extend_classes
from reverie.device_runtime.method.monitor import Monitor
from reverie.device_runtime.method.update import run_update
from reverie.tools.bench.frames import read_frames

WEIGHT, BIAS = "solver.classifier.weight", "solver.classifier.bias"
PARTS = ("solver", "generator", "discriminator")


def part(live, each):
    """The first frames of each class, as many as `each` says."""
    rows = np.concatenate([np.flatnonzero(live.labels == slot)[:count] for slot, count in each.items()])
    return Live(live.inputs[rows], live.labels[rows])


def started(models, grown):
    return models.with_classes(grown.classes)


def test_what_enters_the_last_layer_makes_the_logits(with_hidden, live):
    seen = with_hidden.solver_graph.run({"input": live.inputs})
    known = len(with_hidden.classes)
    logits = seen["hidden"] @ with_hidden.solver[WEIGHT].T + with_hidden.solver[BIAS]
    np.testing.assert_allclose(seen["logits"][:, :known], logits[:, :known], atol=1e-4)


def formula(models, live, share):
    """The rule, written once more: image by image, with the discriminant solved and not inverted."""
    seen = models.solver_graph.run({"input": live.inputs})
    hidden, kept, said = seen["hidden"].astype(np.float64), models.hidden, models.manifest.hidden
    slots = np.unique(live.labels)
    means = np.concatenate([kept.means[:3], [hidden[live.labels == slot].mean(axis=0) for slot in slots]])
    scatter = kept.scatter.copy()
    for row, slot in zip(hidden, live.labels, strict=True):
        away = row - means[slot]
        scatter += np.outer(away, away)
    covariance = scatter / (kept.counts.sum() + len(hidden) - len(means))
    shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weights = np.linalg.solve(shrunk, means.T).T
    layers = {WEIGHT: weights, BIAS: -0.5 * (weights * means).sum(axis=1)}
    rows = {}
    for name, discriminant in layers.items():
        layer = models.solver[name].astype(np.float64)
        rows[name] = layer.copy()
        for slot in slots:
            taken = seen["probabilities"][live.labels == slot].mean(axis=0)[:3]
            between = sum(q * (layer[k] - said.slope * discriminant[k]) for k, q in enumerate(taken))
            rows[name][slot] = (1 - share) * (said.slope * discriminant[slot] + between) + share * layer[slot]
    return rows


@pytest.mark.parametrize("each", [{3: 4, 4: 4}, {3: 30, 4: 30}, {3: 5, 4: 20}])
def test_rows_of_new_classes_begin_as_the_formula_says_and_those_of_known_ones_stay(with_hidden, grown, live, each):
    few = part(live, each)
    share = np.mean([*each.values()]) / ENOUGH
    begun, config = few_frames.begin(with_hidden, started(with_hidden, grown), few, UpdateConfig())
    expected = formula(with_hidden, few, share)
    for name in (WEIGHT, BIAS):
        np.testing.assert_allclose(begun.solver[name], expected[name], rtol=1e-4, atol=1e-5)
        assert begun.solver[name][:3].tobytes() == with_hidden.solver[name][:3].tobytes()
    assert {name for name in begun.solver if begun.solver[name] is not with_hidden.solver[name]} == {WEIGHT, BIAS}
    assert config.replay.temperature == 1 + share
    assert config.fine_tune.learning_rate == share * UpdateConfig().fine_tune.learning_rate
    assert config.synthesis.count == 0
    again, _ = few_frames.begin(with_hidden, started(with_hidden, grown), few, UpdateConfig())
    assert again.solver[WEIGHT].tobytes() == begun.solver[WEIGHT].tobytes()


def test_frames_of_known_classes_count_for_nothing_here(with_hidden, grown, live):
    few = part(live, {3: 4})
    rows = np.random.default_rng(0).standard_normal((100, 1, 14, 14)).astype(np.float32)
    both = Live(np.concatenate([few.inputs, rows]), np.concatenate([few.labels, np.zeros(100, np.int64)]))
    start = started(with_hidden, grown)
    (alone, _), (beside, _) = (few_frames.begin(with_hidden, start, shown, UpdateConfig()) for shown in (few, both))
    np.testing.assert_allclose(beside.solver[WEIGHT], alone.solver[WEIGHT], rtol=1e-6)
    assert few_frames.share_of(with_hidden, both) == 4 / ENOUGH


def many(frames):
    """Twice as many frames as there are: 64 of each class train."""
    return Frames(np.concatenate([frames.inputs, frames.inputs[..., ::-1]]), np.tile(frames.labels, 2), frames.classes)


def known_alone(frames):
    return Frames(frames.inputs[:20], np.zeros(20, np.int64), ("trouser",))


@pytest.mark.slow
@pytest.mark.parametrize("shown", ["many frames", "known classes alone", "literal form", "not from statistics"])
def test_elsewhere_an_update_ends_in_the_weights_of_one_without_statistics(models, with_hidden, frames, quick, shown):
    learnt = {"many frames": many, "known classes alone": known_alone}.get(shown, lambda same: same)(frames)
    config = {"literal form": quick.literal(), "not from statistics": replace(quick, closed_form=False)}.get(
        shown, quick
    )
    updates = [run_update(start, learnt, config, Monitor()) for start in (models, with_hidden)]
    for name in PARTS:
        without, beside = (getattr(update.models, name) for update in updates)
        assert {key: value.tobytes() for key, value in without.items()} == {
            key: value.tobytes() for key, value in beside.items()
        }
    assert [*updates[0].report.stages] == [*updates[1].report.stages]
    assert len(updates[1].synthesised) == 20


@pytest.mark.slow
def test_an_update_of_few_frames_leaves_out_stages_3_to_5_and_says_so(with_hidden, frames, quick):
    updated = run_update(with_hidden, frames, quick, Monitor())
    assert [*updated.report.stages] == ["replay", "fine-tune", "generative update"]
    assert updated.report.config["synthesis"]["count"] == 0
    assert updated.report.config["replay"]["temperature"] == 1.5
    assert len(updated.synthesised) == 0


def test_a_class_of_so_few_frames_that_its_mean_shows_them_is_refused(with_hidden, grown, live):
    with pytest.raises(FramesError, match=r"sneaker has 3 frames to learn, .*: at least 4 are needed"):
        few_frames.begin(with_hidden, started(with_hidden, grown), part(live, {3: 5, 4: 3}), UpdateConfig())


def test_a_solver_that_does_not_give_what_it_promises_is_refused(bundle, hidden_bundle, grown, live, tmp_path):
    odd = shutil.copytree(bundle, tmp_path / "odd")
    shutil.copy(hidden_bundle / STATISTICS, odd)
    values, promised = (json.loads((folder / MANIFEST).read_text("utf-8")) for folder in (odd, hidden_bundle))
    values["hidden"] = promised["hidden"]
    values["files"][STATISTICS] = promised["files"][STATISTICS]
    (odd / MANIFEST).write_text(json.dumps(values), "utf-8")
    installation.install(odd, tmp_path / "home")
    models = store.load_models(tmp_path / "home", store.read_generation(tmp_path / "home"))
    with pytest.raises(BundleError, match="does not give the 128 values that enter its last layer"):
        few_frames.begin(models, started(models, grown), live, UpdateConfig())


@pytest.mark.slow
def test_five_frames_of_the_demo_are_learnt_better_than_without_statistics(repository, tmp_path):
    """Shirts and sneakers, all test images; with fewer steps than the default, and the generator left as it is."""
    demo = repository / "models/fashion-demo"
    installation.install(demo / "bundle", tmp_path / "home")
    pretrained = store.load_models(tmp_path / "home", store.read_generation(tmp_path / "home"))
    make = InputMaker(pretrained.folder, pretrained.manifest)
    for label in ("shirt", "sneaker"):
        (tmp_path / "five" / label).mkdir(parents=True)
        for file in sorted((demo / "frames" / label).iterdir())[:5]:
            shutil.copy(file, tmp_path / "five" / label)
    shown, tested = read_frames(tmp_path / "five", make, 5), read_frames(demo / "test", make, 1)
    classes = extend_classes(pretrained.classes, shown.classes, pretrained.manifest.slots)
    slots = np.array([classes.index(label) for label in tested.classes])[tested.labels]
    config = UpdateConfig()
    config = replace(
        config,
        replay=replace(config.replay, pool=1024),
        fine_tune=replace(config.fine_tune, steps=200, batch=128),
        synthesis=replace(config.synthesis, count=0),
        generative=replace(config.generative, steps=0),
    )

    def right(form):
        said = predict(run_update(pretrained, shown, form, Monitor()).models, tested.inputs)
        return [(said == slots)[rows].mean() for rows in (slots < 6, slots >= 6)]

    (known, new), (_, without) = right(config), right(replace(config, closed_form=False))
    assert known >= 0.88
    assert new > without + 0.1


def test_the_demo_and_the_small_bundle_say_what_their_statistics_are_of(repository):
    for name in ("fashion-demo", "format-2-hidden"):
        manifest = read_manifest(repository / "models" / name / "bundle")
        assert (manifest.hidden.size, manifest.hidden.weight, manifest.hidden.epsilon) == (128, WEIGHT, 0.1)
        assert manifest.statistics is None
        content = (repository / "models" / name / "bundle" / STATISTICS).read_bytes()
        assert manifest.files[STATISTICS] == fingerprint(content)

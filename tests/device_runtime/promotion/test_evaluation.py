"""What is measured of real networks, and that each way of being unfit is seen: honest updates serve, others do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reverie.device_runtime.bundle.canary import read_canary, write_canary
from reverie.device_runtime.bundle.contents import fingerprint
from reverie.device_runtime.bundle.manifest import CANARY
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.config import PromotionConfig
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method import comparison
from reverie.device_runtime.method.comparison import SAMPLES, compare
from reverie.device_runtime.method.labelled import Frames, split
from reverie.device_runtime.method.noise import telling
from reverie.device_runtime.method.replay import generate
from reverie.device_runtime.promotion import evaluation
from reverie.device_runtime.promotion.decision import decide
from reverie.device_runtime.promotion.evaluation import contradicted, evaluate
from reverie.tools.bench.frames import read_frames

LIMITS = PromotionConfig(latency_ratio=1e9)
"""The defaults, but for what a busy machine decides."""


@pytest.fixture(scope="session")
def judged(models, updated, frames, patient):
    """Figures and decision about other networks than those of the honest update, or of other frames."""

    def judge(candidate=updated.models, shown=frames, previous=models, holdout=patient.holdout):
        live, held_out = split(shown, candidate.classes, holdout, patient.seed)
        figures = evaluate(previous, candidate, compare(previous, candidate, live, held_out, patient))
        return figures, decide(figures, LIMITS)

    return judge


def names(decision, part="solver"):
    return {check.name for check in getattr(decision, part) if not check.passed}


def with_head(models, change):
    """The solver with its last layer's bias changed: `change` takes and returns it."""
    bias = next(n for n in reversed(models.solver) if models.solver[n].shape == (models.manifest.slots,))
    return models.with_solver({bias: change(models.solver[bias].copy())})


def test_an_honest_update_serves_with_its_generator(judged):
    figures, decision = judged()
    assert decision.reasons == ()
    assert decision.promoted
    assert decision.generator_promoted, decision.generator
    assert {c.label for c in figures.held_out} == {"bag", "sneaker"}
    assert all(c.before == 0 and c.after > 0.6 * c.of for c in figures.held_out)
    assert sum(c.of for c in figures.generated) == SAMPLES
    assert all(0 < time < 1000 for time in figures.milliseconds)


def test_a_latency_that_cannot_be_met_refuses(judged):
    figures, _ = judged()
    decision = decide(figures, replace(LIMITS, latency_ms=1e-6))
    assert names(decision) == {"milliseconds of a prediction"}
    assert "a prediction takes" in decision.reasons[0]


def test_weights_that_are_no_numbers_do_not_serve(judged, updated):
    name = next(iter(updated.models.solver))
    broken = updated.models.solver[name].copy()
    broken.flat[0] = np.nan
    _, decision = judged(updated.models.with_solver({name: broken}))
    assert "finite weights" in names(decision)


@pytest.mark.parametrize("what", ["generator", "discriminator"])
def test_a_generator_that_is_no_number_is_refused_alone(judged, updated, what):
    weights = {n: w.copy() for n, w in getattr(updated.models, what).items()}
    next(iter(weights.values())).flat[0] = np.inf
    _, decision = judged(replace(updated.models, **{what: weights}))
    assert decision.promoted
    assert not decision.generator_promoted
    assert set(decision.without_replay) == {"bag", "sneaker"}


def test_a_solver_that_never_gives_a_known_class_any_more_does_not_serve(judged, updated):
    def never_trouser(bias):
        bias[2] -= 100
        return bias

    _, decision = judged(with_head(updated.models, never_trouser))
    assert "no class lost on generated inputs" in names(decision)
    assert any("trouser collapsed" in reason for reason in decision.reasons)


def test_a_solver_that_takes_known_things_for_new_ones_does_not_serve(judged, updated):
    def always_bag(bias):
        bias[3] += 100
        return bias

    figures, decision = judged(with_head(updated.models, always_bag))
    assert "agreement" in names(decision)
    assert sum(c.after for c in figures.generated) == 0


def test_a_solver_that_learnt_nothing_does_not_serve(judged, grown):
    _, decision = judged(grown)
    assert {"held-out accuracy", "better than before"} <= names(decision)


def test_a_generator_that_shows_one_thing_only_is_refused_alone(judged, updated):
    collapsed = {n: np.zeros_like(w) for n, w in updated.models.generator.items()}
    _, decision = judged(replace(updated.models, generator=collapsed))
    assert decision.promoted
    assert "class agreement" in names(decision, "generator")


def test_a_class_that_came_again_is_judged_on_the_noise_that_tells_what_it_was_before(
    judged, models, updated, monkeypatch
):
    given_to = {}

    def spied(by, noise, labels):
        given_to.setdefault(id(by), (noise, labels))
        return generate(by, noise, labels)

    monkeypatch.setattr(comparison, "generate", spied)
    monkeypatch.setattr(evaluation, "generate", spied)
    candidate = replace(updated.models, learnt=(2, *updated.models.learnt[1:]))
    judged(candidate)
    (before, codes), (after, same) = given_to[id(models)], given_to[id(candidate)]
    np.testing.assert_array_equal(codes, same)
    again = codes == 0
    np.testing.assert_array_equal(after[~again], before[~again])
    np.testing.assert_array_equal(after[again], telling(before[again], np.zeros(int(again.sum()), int)))


def test_frames_that_are_all_the_same_show_nothing(judged, frames):
    repeated = frames.inputs.copy()
    for slot in (0, 1):
        repeated[frames.labels == slot] = frames.inputs[frames.labels == slot][0]
    figures, decision = judged(shown=Frames(repeated, frames.labels, frames.classes))
    assert figures.unseen == (0, 0)
    assert {"frames of bag that differ", "frames of sneaker that differ"} <= names(decision)


def test_labels_that_are_wrong_in_two_of_five_held_out_frames_are_noticed(judged, frames):
    rng = np.random.default_rng(0)
    flipped = np.where(rng.random(len(frames.labels)) < 0.4, 1 - frames.labels, frames.labels)
    figures, decision = judged(shown=frames._replace(labels=flipped), holdout=0.9)
    assert "labels contradicted" in names(decision)
    assert figures.contradicted > 0.2 * sum(c.of for c in figures.held_out)


@given(
    hnp.arrays(np.float32, (12, 4), elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.int64, 12, elements=st.integers(0, 3)),
)
def test_contradicted_labels_are_counted_only_where_another_label_is_likelier(probabilities, labels):
    count = contradicted(probabilities, labels)
    assert 0 <= count <= (probabilities.argmax(axis=1) != labels).sum()
    assert contradicted(np.eye(4, dtype=np.float32)[labels], labels) == 0


def test_labels_exchanged_between_two_classes_are_all_contradicted():
    truth = np.repeat([0, 1], 10)
    labels = truth.copy()
    labels[[0, 1, 10]] = [1, 1, 0]
    assert contradicted(np.eye(2, dtype=np.float32)[truth] * 0.8 + 0.1, labels) == 3


@pytest.fixture
def with_canary(own_bundle, models, test_folder):
    """The pretrained networks of a bundle with canary images of its known classes, and that bundle's folder."""
    tested = read_frames(test_folder, InputMaker(models.folder, models.manifest), 1)
    rows = np.isin(tested.labels, [tested.classes.index(label) for label in models.classes])
    slots = np.array([models.classes.index(tested.classes[at]) for at in tested.labels[rows]])

    def make(content=None):
        content = write_canary(tested.inputs[rows], slots) if content is None else content
        (own_bundle / CANARY).write_bytes(content)
        files = models.manifest.files | {CANARY: fingerprint(content)}
        return replace(models, folder=own_bundle, manifest=replace(models.manifest, files=files))

    return make


def test_canary_images_are_inputs_within_half_precision(with_canary, models, test_accuracy):
    canary = read_canary(with_canary().folder, with_canary().manifest)
    assert canary.inputs.dtype == np.float32
    assert canary.inputs.shape[1:] == models.manifest.input_shape
    right = (models.solver_graph.run({"input": canary.inputs})["logits"].argmax(axis=1) == canary.labels).mean()
    assert right == pytest.approx(test_accuracy(models, models.classes), abs=0.02)


def test_without_canary_images_nothing_is_asked_of_them(models, judged):
    assert read_canary(models.folder, models.manifest) is None
    assert not any("canary" in check.name for check in judged()[1].solver)


def test_an_honest_update_passes_the_canary_and_a_forgetful_one_does_not(judged, updated, with_canary):
    def prefer_new(bias):
        bias[3:5] += 8
        return bias

    figures, decision = judged(previous=with_canary())
    assert decision.promoted, decision.reasons
    assert [c.label for c in figures.canary] == ["sandal", "t-shirt", "trouser"]
    _, decision = judged(with_head(updated.models, prefer_new), previous=with_canary())
    assert "canary accuracy" in names(decision)


@pytest.mark.parametrize("damage", ["text", "objects", "shape", "label", "nan", "empty"])
def test_a_canary_file_that_is_not_one_is_refused(with_canary, damage):
    inputs, labels = np.zeros((3, 1, 14, 14)), np.zeros(3, np.int64)
    if damage == "shape":
        inputs = inputs[:, :, 1:]
    elif damage == "nan":
        inputs[0] = np.nan
    elif damage == "label":
        labels[0] = 3
    elif damage == "empty":
        inputs, labels = inputs[:0], labels[:0]
    content = write_canary(inputs, labels)
    if damage == "text":
        content = b"cup cup cup"
    elif damage == "objects":
        import io

        file = io.BytesIO()
        np.savez(file, inputs=np.array([{}], dtype=object), labels=labels)
        content = file.getvalue()
    models = with_canary(content)
    with pytest.raises(BundleError, match="holds no inputs of the bundle's classes"):
        read_canary(models.folder, models.manifest)

"""A rehearsal plays updates with images that the bundle has not seen, and writes into it what they taught."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import short

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.manifest import MANIFEST, SIGNATURE
from reverie.device_runtime.bundle.rehearsal import Bound
from reverie.device_runtime.bundle.sources import Folder, accept
from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.home import store
from reverie.device_runtime.method.comparison import predict
from reverie.device_runtime.method.update import as_rehearsed
from reverie.device_runtime.promotion.kept import Kept
from reverie.tools.bench.frames import read_frames
from reverie.tools.bench.harm.outcomes import Score
from reverie.tools.rehearsal import learning, rehearse
from reverie.tools.rehearsal.hiding import most_hidden, without_last
from reverie.tools.rehearsal.playing import Played


@pytest.fixture
def own(statistics_bundle, tmp_path):
    """A bundle behind a backbone whose manifest may change."""
    return shutil.copytree(statistics_bundle, tmp_path / "own")


@pytest.fixture
def twice(monkeypatch):
    """Two kinds of update, an honest and a wrong one, once each."""
    monkeypatch.setattr(rehearse, "PLAYED", ("new, 20 frames", "known as another"))
    monkeypatch.setattr(rehearse, "ROUNDS", 1)


def played(share, *, harm):
    """An update that kept so much of 200 generated inputs, and cost many of 100 test images or none."""
    scores = {"hat": Score(100, 90, 40 if harm else 0, 0), "cup": Score(100, 0, 0, 80)}
    right = round(200 * share)
    seen = np.repeat([True, False], [scores["hat"].after, 100 - scores["hat"].after])
    return Played("new", scores, {"agreement": Kept(right, 200)}, ("hat",), seen)


def test_a_rehearsal_goes_into_the_manifest_and_what_it_holds_is_still_whole(reverie, own, test_folder):
    before = accept(Folder(own), None).manifest
    done = reverie("rehearse", own, "--images", test_folder)
    assert done.code == 0, done
    after = accept(Folder(own), None).manifest
    assert after.rehearsal is not None
    assert replace(after, rehearsal=None, created=before.created) == before
    assert after.made > before.made
    assert after.rehearsal.updates >= 20
    assert after.rehearsal.images == 100
    assert set(after.rehearsal.bounds) == {"agreement", "class agreement"}
    assert f"rehearsal: {after.rehearsal.updates} updates with 100 held-out images" in done.out
    shown = reverie("inspect", own).out
    assert f"class agreement of {after.rehearsal.bounds['class agreement'].least:.1%} or more: " in shown
    assert reverie("install", own, "--home", own.parent / "home").code == 0


def test_without_one_the_cautious_defaults_stand_and_inspect_says_so(reverie, statistics_bundle):
    assert (
        "rehearsal: none, so the cautious defaults stand: reverie rehearse" in reverie("inspect", statistics_bundle).out
    )


def test_the_gate_of_a_box_holds_updates_to_what_was_rehearsed(reverie, own, frames_folder, tmp_path):
    manifest = json.loads((own / MANIFEST).read_text())
    never = {"least": 1.0, "told": 1, "harmful": 1, "refused": 0, "harmless": 1}
    rehearsal = {"updates": 2, "images": 100, "synthesis": True, "learning_rate": 1.0, "gains": {}}
    (own / MANIFEST).write_text(json.dumps(manifest | {"rehearsal": rehearsal | {"bounds": {"agreement": never}}}))
    assert reverie("install", own, "--home", tmp_path / "home").code == 0
    done = reverie("update", "--home", tmp_path / "home", "--frames", frames_folder)
    assert done.code in {0, 1}
    name = "0001" if done.code == 0 else "0001.rejected"
    report = store.read_report(tmp_path / "home", name.removesuffix(".rejected"))
    (check,) = [check for check in report["promotion"]["checks"] if check["name"] == "agreement, rehearsed"]
    assert check["bound"] == 1.0
    assert check["passed"] == (check["measured"] == 1.0)


@pytest.mark.usefixtures("twice")
def test_a_signed_bundle_is_signed_again_or_left_as_it_was(reverie, own, test_folder, tmp_path):
    assert reverie("keygen", tmp_path / "key").code == 0
    assert reverie("sign", own, "--key", tmp_path / "key").code == 0
    signed = {name: (own / name).read_bytes() for name in (MANIFEST, SIGNATURE)}
    refused = reverie("rehearse", own, "--images", test_folder)
    assert refused.code == 1
    assert "is signed, and its manifest will change: give --key to sign it again" in refused.err
    assert {name: (own / name).read_bytes() for name in signed} == signed
    assert reverie("rehearse", own, "--images", test_folder, "--key", tmp_path / "key").code == 0
    accept(Folder(own), signing.read_public_key(tmp_path / "key.pub"))


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ({"trouser": 19}, "has 19 PNG or JPEG images: at least 20 are needed"),
        ({"trouser": 0, "sandal": 0}, "has images of 1 of the bundle's classes"),
    ],
)
def test_too_few_images_are_refused_in_words_and_nothing_is_changed(reverie, own, test_folder, tmp_path, left, words):
    images = shutil.copytree(test_folder, tmp_path / "images")
    for label, count in left.items():
        for image in sorted((images / label).iterdir())[count:]:
            image.unlink()
        if not count:
            (images / label).rmdir()
    before = (own / MANIFEST).read_bytes()
    refused = reverie("rehearse", own, "--images", images)
    assert refused.code == 1
    assert words in refused.err
    assert (own / MANIFEST).read_bytes() == before
    assert reverie("rehearse", own, "--images", tmp_path / "nowhere").code == 1
    assert reverie("rehearse", tmp_path / "no-bundle", "--images", test_folder).code == 1


@pytest.mark.slow
@pytest.mark.usefixtures("twice")
def test_in_pixels_it_chooses_too_and_a_box_does_as_it_says(hidden_bundle, test_folder, monkeypatch):
    monkeypatch.setattr(rehearse, "UpdateConfig", lambda seed: short.few(UpdateConfig(seed=seed)))
    monkeypatch.setattr(rehearse, "ENOUGH", 4)  # with so few images the synthesis would not run
    manifest = accept(Folder(hidden_bundle), None).manifest
    told = []
    found = rehearse.rehearse(hidden_bundle, manifest, test_folder, told=told.append)
    assert set(found.gains) == {"synthesis", "half the learning rate"}
    assert found.updates == 8 + 2
    assert any(line.startswith("known as another, 0: ") for line in told)
    assert found.synthesis == (found.gains["synthesis"] >= 0)
    chosen = as_rehearsed(UpdateConfig(), replace(found, synthesis=False, learning_rate=0.5))
    assert chosen.synthesis.count == 0
    assert chosen.fine_tune.learning_rate == UpdateConfig().fine_tune.learning_rate / 2
    literal = UpdateConfig().literal()
    assert as_rehearsed(literal, found).synthesis == literal.synthesis


def test_hidden_classes_are_not_known_and_others_stay_as_they_were(statistics_bundle, test_folder, tmp_path):
    home = tmp_path / "home"
    models = store.load_models(home, installation.install(statistics_bundle, home))
    tested = read_frames(test_folder, InputMaker(models.folder, models.manifest), 1)
    assert most_hidden(models) == 1
    fewer = without_last(models, 1, np.random.default_rng(0))
    assert fewer.classes == models.classes[:-1]
    for label in fewer.classes:
        rows = tested.labels == tested.classes.index(label)
        slot = models.classes.index(label)
        assert (predict(fewer, tested.inputs[rows]) == slot).sum() >= (
            predict(models, tested.inputs[rows]) == slot
        ).sum()
    rows = tested.labels == tested.classes.index(models.classes[-1])
    assert (predict(fewer, tested.inputs[rows]) < len(fewer.classes)).all()


def test_hidden_classes_of_a_trained_solver_are_hardly_ever_said(hidden_bundle, test_folder, tmp_path):
    home = tmp_path / "home"
    models = store.load_models(home, installation.install(hidden_bundle, home))
    fewer = without_last(models, 1, np.random.default_rng(0))
    assert not fewer.hidden.counts[len(fewer.classes) :].any()
    tested = read_frames(test_folder, InputMaker(models.folder, models.manifest), 1)
    assert (predict(fewer, tested.inputs) < len(fewer.classes)).mean() > 0.9


def test_a_bound_is_what_no_update_without_harm_fell_below_and_counts_what_it_tells():
    updates = [played(0.97, harm=False), played(0.94, harm=False), played(0.7, harm=True), played(0.95, harm=True)]
    assert [update.harmful for update in updates] == [False, False, True, True]
    (bound,) = learning.bounds(updates).values()
    assert bound == Bound(0.93, told=1, harmful=2, refused=0, harmless=2)
    assert not bound.tells
    assert learning.bounds([played(0.7, harm=True)]) == {}
    assert learning.bounds([played(0.1, harm=False)])["agreement"].least == 0.3


def test_fewer_right_over_all_classes_is_harm_and_a_few_lost_for_many_won_is_none():
    assert not replace(played(1, harm=False), scores={"hat": Score(100, 90, 8, 0), "cup": Score(100, 0, 0, 80)}).harmful
    assert replace(played(1, harm=False), scores={"hat": Score(100, 90, 30, 0), "cup": Score(100, 0, 0, 5)}).harmful


def test_a_gain_is_over_all_updates_of_both_and_small_ones_are_chance():
    better, worse = played(1, harm=False), played(1, harm=True)
    gain, error = learning.gain([better], [worse])
    assert (gain, error) == (40, pytest.approx(100 * np.sqrt(40) / 100))
    assert learning.gain([better], [better])[0] == 0

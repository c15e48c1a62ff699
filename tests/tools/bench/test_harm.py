"""`reverie bench harm`: each kind goes the way of every update, and what it does is counted on test images."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.errors import FramesError, ReverieError
from reverie.tools.bench.harm import exam
from reverie.tools.bench.harm.images import find_files
from reverie.tools.bench.harm.kinds import Frame
from reverie.tools.bench.harm.outcomes import (
    HELD_BACK,
    PROMOTED,
    REFUSED,
    SKIPPED,
    Outcome,
    Score,
    load_outcomes,
    save_outcomes,
    total,
)
from reverie.tools.bench.harm.playing import play_kinds, update, write_frames
from reverie.tools.bench.harm.tables import as_markdown, bars, by_kind

LABELS = {"bag", "sandal", "sneaker", "t-shirt", "trouser"}


def cells(table):
    """The first cell of each row → the others."""
    return {row[0]: row[1:] for row in table.rows}


def test_no_image_is_both_shown_and_tested_and_the_rule_is_fixed(test_folder):
    files, again = find_files(test_folder, None), find_files(test_folder, None)
    assert (files.shown, files.tested) == (again.shown, again.tested)
    assert files.shown.keys() == files.tested.keys() == LABELS
    for label in LABELS:
        assert (len(files.shown[label]), len(files.tested[label])) == (16, 4)
        assert not set(files.shown[label]) & set(files.tested[label])


def test_with_a_folder_to_test_on_that_alone_is_tested(frames_folder, test_folder):
    files = find_files(frames_folder, test_folder)
    assert {label: len(some) for label, some in files.shown.items()} == {"bag": 40, "sneaker": 40}
    assert {path.parents[1] for path in chain(*files.tested.values())} == {test_folder}


def test_others_are_new_as_far_as_there_is_room(test_folder, models):
    material = find_files(test_folder, None).material(models)
    assert (material.known, material.new) == (("sandal", "t-shirt", "trouser"), ("bag", "sneaker"))
    full = replace(models, classes=("sandal", "t-shirt", "trouser", "cap", "sock"))
    assert find_files(test_folder, None).material(full).new == ("bag",)


def test_images_that_cannot_tell_are_refused_in_words(frames_folder, test_folder, models):
    with pytest.raises(FramesError, match="no images are of classes that the bundle knows: sandal, t-shirt, trouser"):
        find_files(frames_folder, None).material(models)
    with pytest.raises(FramesError, match="would be shown and tested: give other images to test"):
        find_files(test_folder, test_folder)
    with pytest.raises(FramesError, match="no test images are of trouser: add some"):
        exam.Exam(find_files(test_folder, None).tested | {"trouser": []}, LABELS, models)


def test_lost_and_won_are_paired(models):
    tested = exam.Tested(np.empty(0), ["sandal"] * 4 + ["bag"], np.array([1, 1, 1, 0, 0], bool))
    scores = tested.scores(np.array([1, 0, 0, 1, 1], bool), (*models.classes, "bag"))
    assert scores == {"sandal": Score(4, 3, 2, 1), "bag": Score(1, 0, 0, 1)}
    assert (scores["sandal"].after, scores["sandal"].change) == (2, -0.25)
    assert scores["sandal"].error == pytest.approx(3**0.5 / 4)
    assert total(scores.values()) == Score(5, 3, 2, 2)


def test_what_is_shown_in_new_light_is_tested_in_it_too_and_new_classes_in_it_alone(test_folder, models, grown):
    asked = exam.Exam(find_files(test_folder, None).tested, sorted(LABELS), models)
    assert not np.array_equal(asked.plain.inputs, asked.relit.inputs)
    assert asked.plain.inputs.mean() > asked.relit.inputs.mean()
    plain, relit = asked.scores(grown, ()), asked.scores(grown, {"sandal", "bag"})
    assert {label: score.of for label, score in plain.items()} == dict.fromkeys(LABELS, 4)
    assert {label: score.of for label, score in relit.items()} == dict.fromkeys(LABELS, 4) | {"sandal": 8}
    assert [plain["trouser"], total([plain["sandal"], asked.relit.scores_of(grown)["sandal"]])] == [
        relit["trouser"],
        relit["sandal"],
    ]


@pytest.mark.parametrize(("lost", "won", "harmed"), [(4, 0, False), (5, 0, True), (12, 4, False), (15, 4, True)])
def test_harm_is_what_two_standard_errors_cannot_explain(lost, won, harmed):
    assert Score(100, 90, lost, won).harmed is harmed


def played(bundle, folder, *kinds, tests=None):
    return {o.kind: o for o in play_kinds(bundle, find_files(folder, tests), [(kind, 0) for kind in kinds])}


@pytest.mark.slow
def test_what_serves_is_tested_and_what_was_held_back_made_nothing(statistics_bundle, images):
    kinds = ("new, 60 frames", "one frame again and again")
    done = played(statistics_bundle, images, *kinds)
    good, held = (done[kind] for kind in kinds)
    assert (good.outcome, good.frames, good.known) == (PROMOTED, 64, ("sandal", "t-shirt", "trouser"))
    assert good.scores.keys() == LABELS
    assert good.all.of == 28
    assert all(score.before == 0 and score.after >= 4 for score in good.new.values())
    assert good.not_shown.keys() == {"sandal", "t-shirt", "trouser"}
    assert (held.outcome, held.scores) == (HELD_BACK, {})
    assert "59 duplicate" in held.why
    assert "/" not in held.why


@pytest.mark.usefixtures("few_steps")
def test_a_network_that_learnt_nothing_is_refused_and_tested(bundle, test_folder):
    (outcome,) = played(bundle, test_folder, "new, 20 frames").values()
    assert outcome.outcome == REFUSED
    assert outcome.scores.keys() == LABELS
    assert max(score.after for score in outcome.new.values()) < 4


@pytest.mark.slow
def test_what_is_missed_where_honest_frames_are_held_back_is_told_by_a_box_that_takes_them(
    statistics_bundle, test_folder, monkeypatch
):
    from reverie.device_runtime.frames import intake

    flaw = intake.flaw
    monkeypatch.setattr(intake, "flaw", lambda image, config: flaw(image, config) or "not trusted")
    (outcome,) = played(statistics_bundle, test_folder, "new, 20 frames").values()
    assert (outcome.outcome, outcome.serves) == (HELD_BACK, False)
    assert "16 not trusted" in outcome.why
    assert outcome.all.won > 0
    assert cells(bars([outcome]))["honest, a gain of a point, and refused or held back"] == (
        "1 of 1: new, 20 frames (0)",
    )


@pytest.mark.slow
def test_frames_go_to_the_box_as_they_are_and_what_is_set_aside_is_told(
    statistics_bundle, test_folder, models, tmp_path
):
    material = find_files(test_folder, None).material(models)
    frames = [Frame("bag", image, "bag") for image in material.images["bag"]]
    write_frames([*frames, frames[0]], tmp_path / "frames")
    done = update(statistics_bundle, tmp_path / "home", tmp_path / "frames", UpdateConfig())
    assert done.outcome == PROMOTED
    assert done.why == "1 duplicate"
    assert done.made.classes == ("sandal", "t-shirt", "trouser", "bag")


@pytest.mark.slow
def test_the_command_goes_on_where_it_stopped(reverie, statistics_bundle, images, test_folder, tmp_path):
    output = tmp_path / "harm.json"
    command = ("bench", "harm", statistics_bundle, "--images", images, "--output", output)
    one = ("--kind", "new, 60 frames")
    first = reverie(*command, *one)
    assert first.code == 0, first
    assert first.err.startswith("new, 60 frames, seed 0: promoted, ")
    kept = json.loads(output.read_text("utf-8"))
    both = reverie(*command, *one, "--kind", "two known swapped", "--markdown")
    assert both.code == 0, both
    assert both.err.startswith("two known swapped, seed 0: ")
    assert json.loads(output.read_text("utf-8"))[:1] == kept
    assert "| new, 60 frames | honest | 64 | 1 / 0 / 0 |" in both.out
    assert reverie(*command, *one).err == ""
    other = reverie(*command, "--test-images", test_folder)
    assert other.code == 1
    assert "holds updates of another bundle or with other images" in other.err
    assert reverie(*command, "--kind", "arsenic").code == 2


def outcome(kind, result, scores, *, is_honest=True, mislabelled=0.0, shown=("c",), seed=0):
    return Outcome(
        kind, seed, is_honest, result, "", 40, mislabelled, known=("a", "b", "c"), shown=shown, scores=scores
    )


OUTCOMES = [
    outcome("again", PROMOTED, {"a": Score(100, 90, 9, 0), "b": Score(100, 90, 0, 1), "c": Score(100, 80, 0, 6)}),
    outcome("new", PROMOTED, {"a": Score(100, 90, 0, 0), "d": Score(100, 0, 0, 20)}, shown=("d",)),
    outcome("new", REFUSED, {"a": Score(100, 90, 0, 0), "d": Score(100, 0, 0, 80)}, shown=("d",), seed=1),
    outcome("swap", PROMOTED, {"a": Score(100, 90, 40, 0)}, is_honest=False, mislabelled=1.0, shown=("a", "b")),
    outcome("noisy", PROMOTED, {"a": Score(100, 90, 0, 0)}, is_honest=False, mislabelled=0.1),
    Outcome("none", 0, honest=True, outcome=SKIPPED, why="it takes 2 new classes, and there are 0"),
]


def test_the_table_tells_what_no_update_may_do_and_which_did():
    found = [row[1] for row in bars(OUTCOMES[:-1]).rows]
    assert found == [
        "1 of 4: swap (0)",
        "-2.00",  # of 8 lost and 1 won of 200, and of none
        "-4.0: again (0)",
        "1 of 1: swap (0)",
        "0 of 1",
        "1 of 1: d of new (0)",
        "1 of 2: new (1)",
    ]


def test_a_row_of_a_kind_is_of_what_serves():
    rows = cells(by_kind(OUTCOMES))
    assert rows["again"] == (
        *("honest", "40", "1 / 0 / 0", "86.7 → 86.0", "9", "7", "-0.7 ± 1.3", "-4.0", "-9.0", "", ""),
    )
    assert rows["new"][2:8] == ("1 / 1 / 0", "45.0 → 55.0", "0", "20", "+10.0 ± 2.2", "+0.0")
    assert rows["new"][-2:] == ("20.0", "+40.0")
    assert rows["none"][:3] == ("honest", "", "skipped")
    assert "| none | 0 | skipped | it takes 2 new classes, and there are 0 |" in as_markdown(OUTCOMES)


def test_a_file_gives_back_what_was_written_and_another_is_refused(tmp_path):
    save_outcomes(OUTCOMES, tmp_path / "out.json")
    assert load_outcomes(tmp_path / "out.json") == OUTCOMES
    for wrong in ("{", "[1]", '[{"kind": "new"}]', '[{"scores": {"a": 1}, "known": [], "shown": []}]'):
        (tmp_path / "out.json").write_text(wrong, encoding="utf-8")
        with pytest.raises(ReverieError, match=r"holds no figures of reverie bench harm: give what --output wrote"):
            load_outcomes(tmp_path / "out.json")

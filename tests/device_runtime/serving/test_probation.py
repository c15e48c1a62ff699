"""A generation on probation: counted across processes, confirmed by predictions, left after three failures."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.errors import BundleError, EngineError, HomeError
from reverie.device_runtime.home import store
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.home.layout import locked
from reverie.device_runtime.serving import probation
from reverie.device_runtime.serving.predictor import Predictor
from reverie.device_runtime.serving.probation import Probation, Standing


@pytest.fixture
def broken(updated):
    """Networks that load and predict no numbers."""
    name, value = next(iter(updated.models.solver.items()))
    return updated.models.with_solver({name: np.full_like(value, np.nan)})


def events(home):
    with closing(Journal(home)) as journal:
        return [(entry.event, json.loads(entry.facts)) for entry in journal.audit_log()]


def test_predictions_confirm_a_generation_and_only_then_do_older_ones_go(home, serve, image):
    for _ in range(3):
        serve(0)
    name = serve(3)
    assert len(store.generations(home)) == 5
    Predictor(home).predict(image)
    predictor = Predictor(home)  # another process
    predictor.predict(image)
    assert probation.read(home, store.current(home)).passed == 2
    assert len(store.generations(home)) == 5
    predictor.predict(image)
    assert not probation.read(home, store.current(home)).on_probation
    assert store.generations(home) == ["0003", "0004"]
    assert events(home)[-1] == ("confirmed", {"generation": name, "predictions": 3})
    size = probation.file_of(home, store.current(home)).stat().st_size
    predictor.predict(image)
    Predictor(home).predict(image)
    assert probation.file_of(home, store.current(home)).stat().st_size == size  # nothing is written any more


def test_a_confirmation_that_finds_the_home_busy_is_made_by_the_next_command(home, serve, image):
    serve(1)
    with locked(home):
        Predictor(home).predict(image)
    assert probation.read(home, store.current(home)).confirmed
    with transaction.changing(home):
        assert not probation.read(home, store.current(home)).on_probation
    assert events(home)[-1][0] == "confirmed"


@pytest.mark.parametrize("predictions", [0, 100])
def test_a_damaged_generation_is_left_for_its_parent_at_the_third_attempt(home, serve, damage, image, predictions):
    name = serve(predictions)
    damage(home, name)
    for failures in (1, 2):
        with pytest.raises(BundleError, match=r"solver\.onnx"):
            Predictor(home)
        assert probation.read(home, store.current(home)).failed == failures
        assert store.current(home) == name
    predictor = Predictor(home)
    assert predictor.generation.name == store.current(home) == "0000"
    predictor.predict(image)
    event, facts = events(home)[-1]
    assert (event, facts["generation"], facts["to"]) == ("rolled back", name, "0000")
    assert "failed 3 times" in facts["why"]
    assert "solver.onnx" in facts["why"]


def test_a_running_predictor_that_gets_no_numbers_goes_on_with_the_parent(home, serve, image, broken):
    expected = Predictor(home).predict(image)
    name = serve(100, broken)
    predictor = Predictor(home)
    for _ in range(2):
        with pytest.raises(EngineError, match="predicts what is no number: go back with reverie rollback"):
            predictor.predict(image)
    assert predictor.predict(image) == expected
    assert (name, store.current(home)) == ("0001", "0000")
    assert predictor.predict(image) == expected


def test_a_running_predictor_follows_where_another_process_rolled_back(home, serve, image, broken):
    expected = Predictor(home).predict(image)
    serve(100, broken)
    running = Predictor(home)
    store.put_in_service(home, "0000")
    assert running.predict(image) == expected
    assert running.generation.name == "0000"


def test_failures_count_across_processes_of_their_own(home, serve, damage, test_folder):
    damage(home, serve(100))
    command = (sys.executable, "-c", "from reverie.tools.cli import main; main()", "predict", "--home", str(home))
    image = str(min((test_folder / "bag").iterdir()))
    done = [subprocess.run([*command, image], capture_output=True, text=True, check=False) for _ in range(3)]
    assert [one.returncode for one in done] == [1, 1, 0]
    assert all(len(one.stderr.splitlines()) == 1 for one in done[:2])
    assert store.current(home) == "0000"


def test_an_image_that_cannot_be_read_is_no_failure_of_the_generation(reverie, home, serve, tmp_path):
    serve(100)
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    for _ in range(4):
        assert reverie("predict", tmp_path / "text.png", "--home", home).code == 1
    assert (probation.read(home, store.current(home)).failed, store.current(home)) == (0, "0001")


def test_a_generation_whose_record_is_damaged_is_left_too(home, serve, image):
    name = serve(0)
    (home / "generations" / name / "generation.json").write_text("{}", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(HomeError, match="has no readable generation 0001"):
            Predictor(home)
    assert Predictor(home).predict(image)
    (home / "current").unlink()
    with pytest.raises(HomeError, match="has no generation in service"):
        Predictor(home)


def test_without_a_parent_or_with_a_damaged_one_nothing_is_rolled_back(home, serve, damage):
    name = serve(100)
    damage(home, name)
    damage(home, "0000")
    for _ in range(5):
        with pytest.raises(BundleError):
            Predictor(home)
    assert store.current(home) == name
    store.put_in_service(home, "0000")
    with pytest.raises(BundleError):
        Predictor(home)


def test_failures_while_an_update_holds_the_home_are_counted_and_acted_upon_later(home, serve, damage):
    name = serve(100)
    damage(home, name)
    with locked(home):
        for _ in range(3):
            with pytest.raises(BundleError):
                Predictor(home)
    assert (probation.read(home, store.current(home)).failed, store.current(home)) == (3, name)
    assert Predictor(home).generation.name == "0000"


def test_a_predictor_that_may_not_write_still_predicts(home, serve, image, monkeypatch):
    serve(2)
    expected = Predictor(home).predict(image)
    probation.file_of(home, store.current(home)).chmod(stat.S_IRUSR)
    if os.getuid() == 0:  # to whom modes mean nothing

        def refuse(*_, **__):
            raise PermissionError(30, "Read-only file system")

        monkeypatch.setattr(probation.disk, "append", refuse)
    for _ in range(4):
        assert Predictor(home).predict(image) == expected
    assert probation.read(home, store.current(home)).passed == 1


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\xff\xfe", b'{"generation": "0001"}\nxxx', b"[]\n", b"1\n..."])
def test_a_damaged_file_of_counts_does_not_stop_predictions(home, serve, image, content):
    serve(5)
    probation.file_of(home, store.current(home)).write_bytes(content)
    Predictor(home).predict(image)
    with transaction.changing(home):
        pass


def test_counts_of_a_generation_that_does_not_serve_are_collected(home, serve):
    serve(5)
    store.put_in_service(home, "0000")
    with transaction.changing(home):
        assert not list(home.glob("probation*"))


def test_who_still_predicts_with_an_older_generation_counts_nothing_for_the_newer_one(home, serve, image):
    serve(100)
    older = Predictor(home)
    serve(2)
    for _ in range(5):
        older.predict(image)
    assert probation.read(home, "0002").passed == 0


def test_a_failure_of_an_older_generation_is_none_of_the_newer_one(home, serve, image, broken):
    serve(100, broken)
    older = Predictor(home)
    serve(2)
    assert older.predict(image)  # with the newer one, which it finds in service
    assert older.generation.name == "0002"
    assert (probation.read(home, "0002").passed, probation.read(home, "0002").failed) == (1, 0)


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 10))
def test_during_probation_all_failures_count_and_afterwards_those_in_a_row(tmp_path_factory, outcomes, predictions):
    home = tmp_path_factory.mktemp("home")
    probation.begin(home, Standing("0001", "0000", predictions, 3))
    given_up = False
    for passed in outcomes:
        counting = Probation(home, "0001")  # each in a process of its own
        if passed:
            counting.passed()
        else:
            given_up = counting.failed()
    row = len(outcomes) - len("".join(map(str, map(int, outcomes))).rstrip("0"))
    standing = probation.read(home, "0001")
    if predictions == 0:
        assert standing.failed == row
    else:
        assert standing.failed == outcomes.count(False)
        assert standing.passed <= max(outcomes.count(True), predictions)
    if outcomes and not outcomes[-1]:
        assert given_up == (standing.failed >= 3)

"""An update that is not fit to serve, as people and programs see it, and what history tells of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from judged import serves

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.config import PromotionConfig
from reverie.device_runtime.home import store
from reverie.device_runtime.promotion import decision

pytestmark = pytest.mark.usefixtures("few_steps")

HURRY = ("--max-minutes", "0.00001")


def lenient(figures, _config, _rehearsal):
    return decision.decide(
        figures, PromotionConfig(0, -1, label_noise=1, agreement_drop=1, canary_drop=1, collapse=0, latency_ratio=1e9)
    )


@pytest.fixture
def rejected(reverie, home, frames_folder):
    """A home whose update learnt nothing, and what the command said."""
    return home, reverie("update", "--home", home, "--frames", frames_folder, *HURRY)


def test_an_update_that_learnt_nothing_is_rejected_in_one_line_and_the_previous_generation_serves_on(
    rejected, reverie, tree, installed
):
    home, done = rejected
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith(f"reverie: generation 0001 was rejected and 0000 serves on in {home}: ")
    assert "right on" in line
    assert (store.current(home), store.generations(home), store.rejected(home)) == ("0000", ["0000"], ["0001"])
    assert tree(home / "generations/0000") == tree(installed / "generations/0000")
    assert not (home / "update").exists()
    status = reverie("status", "--home", home).out
    assert "rejected:    0001; see reverie history" in status
    assert "last update: rejected since" in status
    values = json.loads(reverie("status", "--home", home, "--json").out)
    assert (values["name"], values["rejected"], values["update"]["outcome"]) == ("0000", ["0001"], "rejected")


def test_the_report_of_a_rejected_generation_holds_every_check_with_its_bound(rejected):
    home, _ = rejected
    decision = store.read_report(home, "0001")["promotion"]
    assert not decision["promoted"]
    names = [check["name"] for check in decision["checks"]]
    assert names[0] == "finite weights"
    assert names[-1] == "answers from its files"
    assert {"held-out accuracy", "better than before", "agreement", "milliseconds of a prediction"} <= set(names)
    assert all(set(check) == {"name", "measured", "bound", "passed", "says", "label"} for check in decision["checks"])
    (update,), _ = transaction.look(home)
    assert (update.outcome, update.message) == ("rejected", "; ".join(decision["reasons"]))


def test_history_tells_who_when_why_and_the_figures(rejected, reverie, frames_folder, monkeypatch):
    home, _ = rejected
    monkeypatch.setattr(transaction, "decide", lenient)
    assert reverie("update", "--home", home, "--frames", frames_folder, *HURRY).code == 0
    done = reverie("rollback", "--home", home, "--why", "worse at night")
    assert (done.code, done.out) == (0, f"{home} now serves generation 0000: sandal, t-shirt, trouser\n")
    monkeypatch.setenv("COLUMNS", "80")
    shown = reverie("history", "--home", home)
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    first = json.loads(reverie("history", "--home", home, "--json").out)["events"][0]["at"]
    assert shown.out.startswith(first[:19].replace("T", " "))
    words = ("installed", "update begun", "update rejected", "update in service", "rolled back", "0002 → 0000", "night")
    assert all(word in shown.out for word in words), shown.out
    values = json.loads(reverie("history", "--home", home, "--json").out)
    assert values["broken_at"] is None
    rejection = next(event for event in values["events"] if event["event"] == "update rejected")
    assert rejection["who"]
    assert rejection["at"]
    assert rejection["facts"]["message"]
    assert 0 <= rejection["facts"]["agreement"] <= 1
    assert rejection["facts"]["accuracy_before"] == 0
    assert set(values["reports"]) == {"0001", "0002"}


def test_history_of_an_altered_log_says_where_and_fails(rejected, reverie):
    home, _ = rejected
    with closing(sqlite3.connect(home / "journal.db")) as db, db:
        db.execute("UPDATE audit SET facts = replace(facts, '0001', '0009') WHERE event = 'update rejected'")
    for options in ((), ("--json",)):
        done = reverie("history", "--home", home, *options)
        assert done.code == 1
        assert "was altered at entry 3" in done.err
        assert len(done.err.splitlines()) == 1
    assert json.loads(done.out)["broken_at"] == 3


def test_rollback_as_json_and_refused_in_one_line(reverie, home, updated):
    store.add_generation(home, store.read_generation(home), updated.models, serves({}))
    assert json.loads(reverie("rollback", "--home", home, "--json").out)["name"] == "0000"
    done = reverie("rollback", "--home", home)
    assert (done.code, len(done.err.splitlines())) == (1, 1)


def test_probation_is_kept_with_the_update_and_shown(reverie, home, frames_folder, test_folder, monkeypatch):
    monkeypatch.setattr(transaction, "decide", lenient)
    assert reverie("update", "--home", home, "--frames", frames_folder, *HURRY, "--probation", "3").code == 0
    assert "probation:   0 of 3 predictions, 0 failures" in reverie("status", "--home", home).out
    assert reverie("predict", test_folder / "bag", "--home", home).code == 0
    assert "probation:" not in reverie("status", "--home", home).out
    events = [event["event"] for event in json.loads(reverie("history", "--home", home, "--json").out)["events"]]
    assert events[-2:] == ["update in service", "confirmed"]


def test_the_floor_may_be_stated(reverie, home, frames_folder):
    done = reverie("update", "--home", home, "--frames", frames_folder, *HURRY, "--floor", "0.9")
    assert "not 90%" in done.err


def test_a_refused_generator_is_told_and_the_solver_serves_with_the_previous_one(
    reverie, home, frames_folder, monkeypatch, models, same
):
    def refuse_generator(figures, config, _rehearsal):
        bad = replace(figures, generator=replace(figures.generator, finite=False))
        return lenient(bad, config, None)

    monkeypatch.setattr(transaction, "decide", refuse_generator)
    done = reverie("update", "--home", home, "--frames", frames_folder, *HURRY)
    assert done.code == 0, done
    said = " ".join(done.out.split())
    assert "The updated generator was refused and the previous one stays: it makes inputs that are no numbers" in said
    assert "The generator does not show bag, sneaker: show frames of these again in the next update." in said
    served = store.load_models(home, store.read_generation(home))
    assert same(served.generator, models.generator)
    assert same(served.discriminator, models.discriminator)
    assert not same(served.solver, models.solver)
    assert len(served.classes) == 5
    assert served.times_learnt[:5].tolist() == [1, 1, 1, 0, 0]
    # and the next update, which replays from it, goes the whole way
    again = reverie("update", "--home", home, "--frames", frames_folder, *HURRY, "--seed", "1")
    assert again.code == 0, again

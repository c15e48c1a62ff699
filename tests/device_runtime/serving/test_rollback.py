"""Going back: only to what verifies, noted before it is done, and no name is ever used twice."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.errors import BundleError, HomeError, UpdateError
from reverie.device_runtime.home import disk, store
from reverie.device_runtime.home.audit import first_broken
from reverie.device_runtime.home.store import Judgement
from reverie.device_runtime.method.monitor import StageRecord
from reverie.device_runtime.serving import probation
from reverie.device_runtime.serving.probation import Probation, Standing
from reverie.device_runtime.serving.rollback import roll_back


@pytest.fixture
def add(home, grown):
    """Generations 0001 and so on, each from the one before."""

    def make(*, promoted=True):
        bias = {n: w + np.float32(0.01) for n, w in grown.solver.items()}
        judgement = Judgement(promoted=promoted, report={"promotion": {"reasons": ["bad"]}})
        parent, models = store.read_generation(home), replace(grown, solver=bias)
        return store.add_generation(home, parent, models, lambda _: judgement).name

    return make


@pytest.fixture
def back(home):
    def go(to=None, why=""):
        with transaction.changing(home) as journal:
            return roll_back(home, journal, to, why).name

    return go


def test_back_to_the_parent_and_forward_again(home, add, back, tree):
    add(), add()
    before = tree(home / "generations")
    assert back(why="worse at night") == store.current(home) == "0001"
    assert back("0002") == store.current(home) == "0002"
    assert back("0000") == store.current(home) == "0000"
    assert tree(home / "generations") == before
    log = transaction.audit_log(home)
    assert first_broken(log) is None
    facts = [json.loads(entry.facts) for entry in log if entry.event == "rolled back"]
    assert [(f["generation"], f["to"]) for f in facts] == [("0002", "0001"), ("0001", "0002"), ("0002", "0000")]
    assert facts[0]["why"] == "worse at night"


def test_the_next_generation_takes_no_name_that_was_rolled_back_from_or_rejected(home, add, back):
    add()
    back()
    assert add() == "0002"
    assert store.read_generation(home).parent == "0000"
    assert add(promoted=False) == "0003"
    assert (store.current(home), store.generations(home), store.rejected(home)) == (
        "0002",
        ["0000", "0001", "0002"],
        ["0003"],
    )
    assert add() == "0004"
    assert store.read_generation(home).parent == "0002"


def test_a_rejected_generation_keeps_its_report_and_goes_with_the_old_ones(home, add):
    names = [add(promoted=False) for _ in range(4)]
    assert store.rejected(home) == names
    assert store.read_report(home, names[0]) == {"promotion": {"reasons": ["bad"]}}
    store.retire(home, keep=2)
    assert store.rejected(home) == names[2:]
    assert store.generations(home) == ["0000"]


def test_back_to_what_is_not_there_is_refused(home, add, back, tree):
    with pytest.raises(HomeError, match="came with the bundle: there is none before it"):
        back()
    add()
    add(promoted=False)
    with transaction.changing(home):
        pass
    before = tree(home)
    for to, says in (
        ("0007", r"is not there: choose one of those in .* with --to \(0000\)"),
        ("0002", "was rejected"),
        ("0001", "is in service already"),
        ("../../etc", "is not there"),
    ):
        with pytest.raises(HomeError, match=says):
            back(to)
    after = tree(home)
    assert {path for path in after if after[path] != before.get(path)} <= {"journal.db"}


def test_back_to_a_damaged_generation_is_refused_and_the_service_unchanged(home, add, back):
    add()
    path = home / "generations/0000/generator.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="generation 0000 cannot serve"):
        back()
    assert store.current(home) == "0001"


def test_while_an_update_is_in_progress_there_is_no_going_back_but_a_way_out(home, add, back, frames, quick):
    add()
    with transaction.changing(home) as journal:
        transaction.begin(home, journal, frames, quick, StageRecord())
    with pytest.raises(UpdateError, match=r"finish it with reverie update .* or drop it with --restart"):
        back()
    with transaction.changing(home) as journal:
        transaction.drop(home, journal)
    assert back() == "0000"


def test_a_rollback_cut_off_at_any_operation_has_happened_or_not_and_the_probation_goes_on(home, add, back):
    class Cut(BaseException):
        pass

    def prove():
        probation.begin(home, Standing("0001", "0000", 100, 3))
        Probation(home, "0001").passed()

    add()
    seen = []
    with disk.watched(seen.append):
        back()
    back("0001")
    prove()
    served = set()
    for at in range(1, len(seen) + 1):
        count = 0

        def stop(_operation, at=at):
            nonlocal count
            count += 1
            if count >= at:
                raise Cut

        with disk.watched(stop), pytest.raises(Cut):
            back()
        assert store.confirm(home).name in {"0000", "0001"}
        served.add(store.current(home))
        with transaction.changing(home):
            standing = probation.read(home, store.current(home))
            if store.current(home) == "0001":
                assert (standing.passed, standing.predictions) == (1, 100)
            else:
                assert not standing.on_probation
            assert not [p for p in home.iterdir() if disk.is_leftover(p)]
        if store.current(home) == "0000":
            back("0001")
            prove()
    assert served == {"0000", "0001"}

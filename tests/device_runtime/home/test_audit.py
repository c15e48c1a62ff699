"""The audit log shows what happened, and shows when somebody changed it afterwards."""

import dataclasses
import sqlite3
from contextlib import closing

import pytest

from reverie.device_runtime.home import audit
from reverie.device_runtime.home.journal import FILE, Journal


@pytest.fixture
def written(tmp_path):
    with closing(Journal(tmp_path)) as journal:
        journal.note("installed", name="demo")
        journal.begin("0000", "0001", "f" * 8, "{}", "1")
        journal.end("in service")
        journal.note("purged", label="cup", frames=12)
    return tmp_path


def entries(home):
    with closing(Journal(home)) as journal:
        return journal.audit_log()


def test_what_happened_is_told_in_its_order_with_who_and_facts(written):
    log = entries(written)
    assert [entry.event for entry in log] == ["installed", "update begun", "update in service", "purged"]
    assert log[3].to_json()["facts"] == {"label": "cup", "frames": 12}
    assert {entry.who for entry in log} == {audit.user()}
    assert audit.first_broken(log) is None


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit SET facts = replace(facts, '12', '11') WHERE id = 4", 4),
        ("UPDATE audit SET who = 'somebody' WHERE id = 2", 2),
        ("UPDATE audit SET at = '2020' WHERE id = 1", 1),
        ("DELETE FROM audit WHERE id = 2", 3),
        ("DELETE FROM audit WHERE id = 1", 2),
        ("UPDATE audit SET hash = (SELECT hash FROM audit WHERE id = 1) WHERE id = 3", 3),
    ],
)
def test_an_entry_that_is_altered_or_missing_is_found(written, statement, broken):
    with closing(sqlite3.connect(written / FILE, isolation_level=None)) as db:
        db.execute(statement)
    assert audit.first_broken(entries(written)) == broken


def test_an_entry_put_between_is_found(written):
    log = entries(written)
    assert audit.first_broken([*log[:2], dataclasses.replace(log[1], id=3), *log[2:]]) == 3

"""An update that was never cut off, to which all others are compared, and the state from which one goes on."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from crash_support import begin, check_whole, entries, go_on, small, weights

from reverie.device_runtime.changes import judging, transaction
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.home import store
from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.home.layout import UPDATE
from reverie.device_runtime.method import comparison, report
from reverie.device_runtime.method.generative import coverage
from reverie.device_runtime.method.monitor import STAGES
from reverie.device_runtime.promotion import evaluation


class Uncut(NamedTuple):
    """What is there after an update that was not cut off."""

    entries: set[str]
    weights: dict[str, bytes]
    report: dict


@contextmanager
def brief_reports():
    """Figures do not matter here, and they and a new process take longer than such a short update.

    Where tests start a process of their own, all is as it is.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "SAMPLES", 8)
        patch.setattr(report, "coverage", partial(coverage, samples=8))
        patch.setattr(evaluation, "TIMED", 1)
        patch.setattr(judging, "wrong_answers", lambda *_: "")
        yield


@pytest.fixture(autouse=True)
def brief_report():
    with brief_reports():
        yield


@pytest.fixture(scope="package")
def tiny():
    """A configuration with which an update takes a fraction of a second."""
    return small(UpdateConfig())


@pytest.fixture(scope="package")
def begun(installed, frames, tiny, tmp_path_factory):
    """A home in which an update has just begun; only read."""
    home = Path(shutil.copytree(installed, tmp_path_factory.mktemp("begun") / "home"))
    begin(home, frames, tiny)
    return home


@pytest.fixture
def fast_folder(tmp_path):
    """A folder in memory where there is one: some tests sync thousands of files, and none of them for safety."""
    memory = Path("/dev/shm")  # noqa: S108
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def cut(begun, fast_folder):
    """The same, for a test to cut off."""
    return Path(shutil.copytree(begun, fast_folder / "cut"))


@pytest.fixture
def journal(cut):
    opened = Journal(cut)
    yield opened
    opened.close()


@pytest.fixture
def home(installed, fast_folder):
    """A home with generation 0 in service that a test may change."""
    return Path(shutil.copytree(installed, fast_folder / "home"))


@pytest.fixture(scope="package")
def uncut(begun, tmp_path_factory):
    home = Path(shutil.copytree(begun, tmp_path_factory.mktemp("uncut") / "home"))
    with brief_reports():  # a fixture of this scope is made before that of a test
        go_on(home)
    return Uncut(entries(home), weights(home), store.read_report(home, store.current(home)))


@pytest.fixture(scope="package")
def next_command(uncut):
    """home → what its next command makes of it, and whether that is whole and the same as without a cut.

    Homes with the same valid checkpoints of the same steps are gone on with once.
    """
    gone_on = set()

    def run(home):
        with transaction.changing(home) as journal:
            update = journal.in_progress()
            checkpoints = Checkpoints(home / UPDATE, journal)
            valid = tuple(stage for stage in STAGES if checkpoints.load(stage) is not None)
        serving = check_whole(home)
        if update is not None:
            state = (serving, update.stage, update.step, update.attempts, valid, frozenset(entries(home)))
            if state not in gone_on:
                gone_on.add(state)
                go_on(home)
                assert weights(home) == uncut.weights
                assert entries(home) == uncut.entries
        return serving

    return run

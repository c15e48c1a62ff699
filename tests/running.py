"""Running commands: in this process, from a folder of their own, and ones that must be refused."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from reverie.tools.cli import main


class Finished(NamedTuple):
    """Exit code and output of one command."""

    code: int
    out: str
    err: str


@pytest.fixture
def reverie(monkeypatch, capfd):
    """Run `reverie ARGUMENTS` in this process, with all that it writes to the real stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["reverie", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        return Finished(code, *capfd.readouterr())

    return run


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The current directory of a test: modules written into it can be imported, and are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def refused(reverie, workspace, tree):
    """Run a command that must fail: exit 1, one line, nothing written. Returns the line."""

    def run(*arguments):
        before = tree(workspace)
        finished = reverie(*arguments)
        assert finished.code == 1
        assert finished.err.startswith("reverie: ")
        assert finished.err.count("\n") == 1, finished.err
        assert finished.err.endswith("\n")
        after = {path: digest for path, digest in tree(workspace).items() if "__pycache__" not in path}
        assert after == {path: digest for path, digest in before.items() if "__pycache__" not in path}
        return finished.err

    return run

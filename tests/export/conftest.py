"""What the tests of the workstation half share."""

from __future__ import annotations

import functools
import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """shape → example networks of that shape and their bundle, exported once; only read."""
    from workstation_support import EPOCH, Exported, example_networks

    from reverie.export.exporter import export_bundle

    @functools.cache
    def export(shape):
        networks = example_networks(shape)
        folder = tmp_path_factory.mktemp("bundles") / "x".join(map(str, shape))
        killed = folder.with_name(f".{folder.name}.partial")
        killed.mkdir()
        (killed / "stray").write_bytes(b"left behind by an export that was killed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SOURCE_DATE_EPOCH", EPOCH)
            return Exported(networks, folder, export_bundle(networks, folder, lambda _: None))

    return export


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


@pytest.fixture
def own(workspace, reverie, refused):
    """Export the networks of own_networks.py with `reverie export`, or be refused; options may be changed."""
    from own_export import Own

    shutil.copy(Path(__file__).with_name("own_networks.py"), workspace / "my_networks.py")
    return Own(workspace, reverie, refused)


@pytest.fixture
def own_file(own):
    """As `own`, with the solver as a file in ONNX format."""
    from onnx_files import OwnFile, write

    write(own.saved["solver"], own.folder / "model.onnx", fixed=True, opset=13)
    return OwnFile(own, "model.onnx")

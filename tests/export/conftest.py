"""What the tests of the workstation half share."""

from __future__ import annotations

import functools
import shutil
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

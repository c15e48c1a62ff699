"""A bundle appears whole or not at all, and never in the place of something else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from own_networks import Arctangent
from torch import nn
from workstation_support import TINY, TinyGenerator, TinySolver, tiny_networks

from reverie.device_runtime.bundle.contents import read_manifest, read_verified
from reverie.device_runtime.bundle.manifest import MANIFEST
from reverie.device_runtime.errors import ExportError
from reverie.export.exporter import export_bundle

pytestmark = pytest.mark.slow


class OtherwiseWhenExported(nn.Module):
    """Computes something else while it is exported than when torch runs it."""

    def forward(self, x):
        return 1.001 * x if torch.compiler.is_exporting() else x


def silent(_):
    pass


@pytest.fixture
def output(tmp_path):
    """Where a bundle is to be written; what else lies there must stay as it is."""
    (tmp_path / "neighbour").write_text("mine", encoding="utf-8")
    return tmp_path / "bundle"


def assert_nothing_written(output):
    assert [p.name for p in output.parent.iterdir()] == ["neighbour"]


def test_a_graph_that_differs_from_torch_leaves_no_bundle_and_is_named(output):
    with pytest.raises(ExportError, match=r"solver\.onnx does not compute what torch computes: \w+ differs by"):
        export_bundle(tiny_networks(TinySolver(OtherwiseWhenExported())), output, silent)
    assert_nothing_written(output)


def test_a_failure_after_most_artifacts_are_made_leaves_no_bundle(output):
    """No parameter stands before this arctangent, so that only the generator's gradient would have to pass it."""
    reached = []
    with pytest.raises(ExportError, match=r"Asinh at solver\.front"):
        export_bundle(tiny_networks(TinySolver(nn.ReLU(), front=Arctangent())), output, reached.append)
    assert reached[-1] == "generator_train"
    assert_nothing_written(output)


def test_an_export_that_is_interrupted_leaves_no_bundle(output):
    def interrupt(artifact):
        if artifact == "discriminator_train":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(tiny_networks(), output, interrupt)
    assert_nothing_written(output)


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file"])
def test_an_output_that_exists_is_refused_and_untouched(output, tree, kind):
    if kind == "file":
        output.write_text("mine", encoding="utf-8")
    else:
        output.mkdir()
    if kind == "folder":
        (output / MANIFEST).write_text("mine", encoding="utf-8")
    before = tree(output.parent)
    with pytest.raises(ExportError, match="exists already"):
        export_bundle(tiny_networks(), output, silent)
    assert tree(output.parent) == before


def test_an_output_that_cannot_be_made_is_refused(output):
    with pytest.raises(ExportError, match="cannot write"):
        export_bundle(tiny_networks(), output.parent / "neighbour" / "bundle", silent)
    assert_nothing_written(output)


def test_what_an_export_that_was_killed_left_behind_is_not_taken_into_the_next(exported):
    """Each of the bundles of these tests had such a leftover in its way."""
    folder = exported(TINY).folder
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    assert not (folder / "stray").exists()


def test_the_manifest_names_every_file_with_its_true_hash_and_all_artifacts_agree_with_torch(exported):
    folder = exported(TINY).folder
    manifest = read_manifest(folder)
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {*manifest.files, MANIFEST}
    for name, record in manifest.files.items():
        assert len(read_verified(folder, name, record)) == record.size
    artifacts = {Path(name).parts[0] for name in manifest.files if ".blocked" not in name}  # forms of the others
    assert manifest.parity.keys() == artifacts
    assert all(0 <= figures["relative"] <= 1e-4 for figures in manifest.parity.values())
    assert json.loads((folder / MANIFEST).read_text("utf-8"))["format"] == 2


class WithoutNoiseSize(TinyGenerator):
    noise_size = None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"solver": TinySolver(slots=5)}, r"the solver returns shape \(2, 5\) where \(2, 7\) is needed"),
        ({"generator": nn.Linear(3, 3)}, "does not say how much noise it takes"),
        ({"generator": WithoutNoiseSize()}, "does not say how much noise it takes"),
        ({"generator": TinyGenerator(slots=6)}, "the generator does not run"),
        ({"discriminator": TinyGenerator()}, "the discriminator does not run"),
        ({"input_shape": (1, 9, 9)}, r"the solver does not run on inputs of shape \(1, 9, 9\)"),
    ],
)
def test_networks_that_do_not_fit_together_are_refused_before_anything_is_exported(output, changed, message):
    reached = []
    with pytest.raises(ExportError, match=message):
        export_bundle(dataclasses.replace(tiny_networks(), **changed), output, reached.append)
    assert reached == []
    assert_nothing_written(output)


def test_exporting_networks_left_in_training_mode_does_not_change_them(output):
    solver = TinySolver(nn.ReLU(), front=nn.BatchNorm2d(1)).train()
    before = {name: value.clone() for name, value in solver.state_dict().items()}
    export_bundle(tiny_networks(solver), output, silent)
    assert all(torch.equal(value, before[name]) for name, value in solver.state_dict().items())

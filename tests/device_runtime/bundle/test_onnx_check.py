"""What our exporter writes passes the check of models, and the check sees in it what lies where."""

from __future__ import annotations

import pytest
import wire

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.manifest import MODELS
from reverie.device_runtime.bundle.onnx_check import check_model
from reverie.device_runtime.bundle.onnx_operators import PORTABLE
from reverie.device_runtime.engine.graph import Graph
from reverie.device_runtime.errors import BundleError
from reverie.device_runtime.method.models import Models

BUNDLES = ("format-1", "format-1-backbone", "format-2", "format-2-backbone", "format-2-hidden", "fashion-demo")


@pytest.mark.parametrize("name", BUNDLES)
def test_every_model_of_every_bundle_passes_with_its_weights_where_the_manifest_says(repository, name):
    folder = repository / "models" / name / "bundle"
    manifest = read_manifest(folder)
    models = [path for path in manifest.files if path.endswith(".onnx")]
    assert len(models) >= 14
    for path in models:
        places = check_model((folder / path).read_bytes(), path, manifest.injected(path))
        if path.removesuffix(".onnx") in MODELS:
            weights = manifest.tensors[path.removesuffix(".onnx")]
            assert {n: (p.offset, p.offset + p.bytes) for n, p in weights.items()}.items() <= places.items()


@pytest.mark.parametrize("name", ["format-2", "format-2-backbone", "fashion-demo"])
def test_no_model_of_this_format_needs_the_engine_for_training(repository, name):
    folder = repository / "models" / name / "bundle"
    manifest = read_manifest(folder)
    for path in (path for path in manifest.files if path.endswith(".onnx")):
        check_model((folder / path).read_bytes(), path, manifest.injected(path), PORTABLE)


@pytest.mark.parametrize("search", ["image", "noise"])
def test_what_the_manifest_says_is_injected_is_what_the_synthesis_takes_from_memory(models, search):
    """One name less, and the graph is refused: all the others are not needed either."""
    path = f"synthesis_{search}.onnx"
    content = (models.folder / path).read_bytes()
    injected = models.manifest.injected(path)
    check_model(content, path, injected)
    for name in injected:
        with pytest.raises(BundleError, match="has its data in another file"):
            check_model(content, path, injected - {name})


def test_nothing_else_is_injected(models):
    others = [path for path in models.manifest.files if not path.startswith("synthesis_")]
    assert not any(models.manifest.injected(path) for path in others)


def test_weights_that_an_update_wrote_stay_where_they_were(models: Models, grown):
    for name in MODELS:
        before = check_model(models.template(name))
        assert check_model(grown.model_file(name)) == before


def test_the_smallest_model_runs_and_with_data_elsewhere_it_never_reaches_the_engine():
    """The hostile models are this one with a piece more: it is that piece for which they are refused."""
    smallest = wire.model(
        wire.field(1, wire.node())
        + wire.field(2, "g")
        + wire.field(11, wire.value("x"))
        + wire.field(12, wire.value("y"))
    )
    assert Graph(smallest).inputs == ("x",)
    check_model(wire.of(wire.initializer(wire.tensor())))
    check_model(wire.with_node("Constant", wire.attribute(5, wire.tensor())))
    with pytest.raises(BundleError, match="has its data in another file"):
        Graph(wire.of(wire.initializer(wire.outside("/etc/passwd"))))


def test_a_model_may_be_just_as_deep_and_no_deeper():
    """Subgraphs are told from their depth, whoever holds them; the operators that run them are refused before."""
    with pytest.raises(BundleError, match="'If' is not among"):
        check_model(wire.nested(7))
    with pytest.raises(BundleError, match="nested too deeply"):
        check_model(wire.nested(9))

"""The manifest: what is written is read again, and garbage is refused and never crashes."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.bundle.manifest import (
    MODELS,
    OF_THE_GENERATOR,
    OF_THE_SOLVER,
    FileRecord,
    Manifest,
    TensorRecord,
)
from reverie.device_runtime.bundle.parsing import read_json
from reverie.device_runtime.bundle.preprocess import COLOURS, RESIZES, Preprocessing
from reverie.device_runtime.changes import installation
from reverie.device_runtime.errors import BundleError

WHERE = Path("manifest.json")
FIELDS = {f.name for f in dataclasses.fields(Manifest)}
words = st.text(max_size=8)
labels = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="/\\."), min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
sizes = st.integers(1, 512)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
records = st.builds(FileRecord, hashes, sizes)
places = st.builds(TensorRecord, sizes, st.lists(sizes, max_size=4).map(tuple))
ACTIVE = {"active": TensorRecord(8, (4,))}
manifests = st.builds(
    Manifest,
    name=labels,
    created=st.datetimes().map(lambda at: at.isoformat()),
    family=labels,
    classes=st.lists(labels, min_size=1, max_size=4, unique=True).map(tuple),
    slots=st.integers(4, 99),
    input_shape=st.tuples(*[st.integers(1, 256)] * 3),
    noise_size=sizes,
    conditional=st.booleans(),
    preprocessing=st.builds(
        Preprocessing,
        sizes,
        sizes,
        st.sampled_from(["grey", "rgb"]),
        st.sampled_from(["exact", "stretch"]),
        st.floats(0, 255),
        st.floats(1, 255),
    ),
    files=st.builds(
        dict.__or__,
        st.fixed_dictionaries(dict.fromkeys(OF_THE_SOLVER + OF_THE_GENERATOR, records)),
        st.dictionaries(st.from_regex(r"\A[a-z]{1,8}(/[a-z]{1,8})?\Z"), records, max_size=3),
    ),
    tensors=st.fixed_dictionaries(
        {model: st.dictionaries(words, places, max_size=3).map(lambda t: t | ACTIVE) for model in MODELS}
    ),
    training=st.just({})
    | st.fixed_dictionaries({"rule": words, "parameters": sizes, "of": sizes, "compute": st.floats(0, 1)}),
    parity=st.dictionaries(words, st.fixed_dictionaries({"relative": st.floats(0, 1), "at": words}), max_size=2),
    tools=st.dictionaries(words, words, max_size=2),
    unknown=st.dictionaries(words | st.just("unknown"), json_values, max_size=3).map(
        lambda found: {key: value for key, value in found.items() if key not in FIELDS - {"unknown"}}
    ),
)


@given(manifests)
def test_what_is_written_is_read_again_with_fields_of_a_newer_writer(manifest):
    assert read_json(manifest.to_json(), WHERE) == manifest


@given(manifests, st.dictionaries(words, json_values, max_size=3))
def test_fields_this_version_does_not_know_survive_a_rewrite(manifest, added):
    added = {key: value for key, value in added.items() if key not in FIELDS}
    text = json.dumps(json.loads(manifest.to_json()) | added)
    rewritten = json.loads(read_json(text, WHERE).to_json())
    assert rewritten == json.loads(text)


def test_all_that_the_manifest_of_an_older_bundle_says_survives_a_rewrite(bundle):
    text = (bundle / "manifest.json").read_text(encoding="utf-8")
    rewritten, written = json.loads(read_manifest(bundle).to_json()), json.loads(text)
    assert {name: written[name] for name in written if name != "preprocessing"}.items() <= rewritten.items()
    assert written["preprocessing"].items() <= rewritten["preprocessing"].items()


@given(st.text() | json_values.map(json.dumps))
def test_text_that_is_no_manifest_is_refused(text):
    with pytest.raises(BundleError):
        read_json(text, WHERE)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"format": 1}', "9" * 5000, "\ud800", '{"format": 1, "classes": 3}', ""],
    ids=range(6),
)
def test_hostile_text_is_refused(text):
    with pytest.raises(BundleError):
        read_json(text, WHERE)


@given(json_values.filter(lambda value: value not in (1, 2)))
def test_an_unknown_format_version_is_refused_and_named(version):
    with pytest.raises(BundleError, match="this Reverie reads format 1 to 2"):
        read_json(json.dumps({"format": version}), WHERE)


def paths(value, at=()):
    """Every place in a JSON value."""
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*at, key))


def replaced(value, path, new):
    """`value` with what is at `path` replaced."""
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = replaced(value[path[0]], path[1:], new)
    return copied


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_manifest_with_any_one_value_replaced_is_read_or_refused_and_never_crashes(bundle, data):
    text = (bundle / "manifest.json").read_text(encoding="utf-8")
    values = json.loads(text)
    path = data.draw(st.sampled_from(list(paths(values))))
    new = data.draw(json_values | st.just(float("inf")) | st.just(float("nan")) | st.integers(2**62, 2**70))
    try:
        manifest = read_json(json.dumps(replaced(values, path, new)), WHERE)
    except BundleError:
        return
    how = manifest.preprocessing
    sizes = (manifest.slots, manifest.noise_size, *manifest.input_shape, how.height, how.width)
    assert all(isinstance(size, int) and size > 0 for size in sizes)
    assert all(isinstance(text, str) for text in (manifest.name, manifest.created, *manifest.classes))
    assert (how.colour, how.resize) in itertools.product(COLOURS, RESIZES)


@pytest.mark.parametrize("missing", ["solver.onnx", "generator_train/training_model.onnx", "synthesis_noise.onnx"])
def test_a_manifest_that_does_not_name_a_model_is_refused(own_bundle, edit_manifest, tmp_path, missing):
    files = json.loads((own_bundle / "manifest.json").read_text(encoding="utf-8"))["files"]
    edit_manifest(own_bundle, files={name: record for name, record in files.items() if name != missing})
    with pytest.raises(BundleError, match=missing):
        installation.install(own_bundle, tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "name", ["../x", "../../../x", "solver_train/../../x", "/x", "", ".", "manifest.json", "a\0b", "\ud800"]
)
def test_a_manifest_that_names_a_file_outside_the_bundle_is_refused(own_bundle, edit_manifest, name):
    files = json.loads((own_bundle / "manifest.json").read_text(encoding="utf-8"))["files"]
    edit_manifest(own_bundle, files=files | {name: files["solver.onnx"]})
    with pytest.raises(BundleError, match="manifest"):
        read_manifest(own_bundle)


def test_installing_never_writes_outside_the_home(own_bundle, edit_manifest, tmp_path, tree):
    """A bundle whose manifest names a file that lies, and would be copied to, three folders up."""
    hostile = tmp_path / "a/b/bundle"
    hostile.parent.mkdir(parents=True)
    own_bundle.rename(hostile)
    (tmp_path / "outside").write_bytes((hostile / "solver.onnx").read_bytes())
    files = json.loads((hostile / "manifest.json").read_text(encoding="utf-8"))["files"]
    edit_manifest(hostile, files=files | {"../../../outside": files["solver.onnx"]})
    before = tree(tmp_path)
    with pytest.raises(BundleError):
        installation.install(hostile, tmp_path / "box/home")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("classes", [["cup", "cup"], [], list("abcdefghijkl"), ["cup", "../x"], ["a\nb"]])
def test_class_names_that_are_no_labels_missing_the_same_or_too_many_are_refused(own_bundle, edit_manifest, classes):
    edit_manifest(own_bundle, classes=classes)
    with pytest.raises(BundleError):
        read_manifest(own_bundle)


@pytest.mark.parametrize("field", ["name", "family"])
def test_a_name_that_would_steer_a_terminal_is_refused(own_bundle, edit_manifest, field):
    edit_manifest(own_bundle, **{field: "doors\x1b[2J"})
    with pytest.raises(BundleError, match="cannot be printed"):
        read_manifest(own_bundle)

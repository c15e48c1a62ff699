"""Whatever bytes come in as manifest, zip, model, image or key: what comes out is accepted or one of our errors."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import wire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reverie.device_runtime.bundle import signing
from reverie.device_runtime.bundle.manifest import MANIFEST
from reverie.device_runtime.bundle.onnx_check import check_model
from reverie.device_runtime.bundle.parsing import parse_manifest
from reverie.device_runtime.bundle.sources import accept, open_source
from reverie.device_runtime.camera import images
from reverie.device_runtime.errors import BundleError, FramesError

EXAMPLES = settings(max_examples=150, suppress_health_check=list(HealthCheck))
WHERE = Path("manifest.json")
BUNDLE = Path(__file__).parents[2] / "models/format-2/bundle"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
changes = st.lists(st.tuples(st.integers(0, 1 << 24), st.integers(0, 255)), min_size=1, max_size=6)
cuts = st.tuples(st.integers(0, 1 << 24), st.integers(0, 64), st.binary(max_size=16))


def spoiled(content, bytes_changed, cut):
    """`content` with some bytes changed, and a piece of it replaced."""
    out = bytearray(content)
    for at, value in bytes_changed:
        out[at % len(out)] = value
    at, length, put = cut
    out[at % len(out) : at % len(out) + length] = put
    return bytes(out)


@pytest.fixture(scope="module")
def manifest():
    return json.loads((BUNDLE / MANIFEST).read_text("utf-8"))


def paths(values, above=()):
    """The way to every value within JSON values."""
    if isinstance(values, dict | list) and values:
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from paths(value, (*above, key))
    if above:
        yield above


@EXAMPLES
@given(st.data())
def test_any_value_anywhere_in_a_manifest(manifest, data):
    text = json.dumps(manifest)
    for _ in range(data.draw(st.integers(1, 3))):
        values = json.loads(text)
        way = data.draw(st.sampled_from(sorted(paths(values), key=str)))
        inside = values
        for key in way[:-1]:
            inside = inside[key]
        inside[way[-1]] = data.draw(json_values)
        text = json.dumps(values)
    try:
        parsed = parse_manifest(text.encode(), WHERE)
    except BundleError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert parsed.injected("synthesis_noise.onnx")
        assert parsed.made.tzinfo


@EXAMPLES
@given(changes, cuts)
def test_any_bytes_in_a_manifest(bytes_changed, cut):
    check(lambda: parse_manifest(spoiled((BUNDLE / MANIFEST).read_bytes(), bytes_changed, cut), WHERE), BundleError)


def check(call, *errors):
    """Run `call`, which may raise one of `errors` in one line."""
    said = ""
    try:
        call()
    except errors as error:
        said = str(error)
    assert "\n" not in said


@pytest.fixture(scope="module")
def zipped():
    """A zip with the bundle's manifest and smallest file: what matters is its structure."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        for name in (MANIFEST, "solver_train/training_model.onnx"):
            written.writestr(zipfile.ZipInfo(name), (BUNDLE / name).read_bytes())
    return content.getvalue()


@EXAMPLES
@given(st.data())
def test_any_bytes_in_the_structure_of_a_zip(zipped, tmp_path_factory, data):
    """Changes in its headers and its list, which begin at these marks."""
    content = bytearray(zipped)
    marks = [at for mark in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06") for at in found(zipped, mark)]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(marks)) + data.draw(st.integers(0, 60))
        content[min(at, len(content) - 1)] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(content), len(content), len(content) - 3, len(content) // 2]))
    path = tmp_path_factory.getbasetemp() / "fuzzed.zip"
    path.write_bytes(content[:end])

    def take():
        with open_source(path) as source:
            accept(source, None)

    with pytest.raises(BundleError):  # it lacks most files in any case
        take()


def found(content, mark):
    at = content.find(mark)
    while at >= 0:
        yield at
        at = content.find(mark, at + 1)


@EXAMPLES
@given(changes, cuts)
def test_any_bytes_in_a_zip(zipped, tmp_path_factory, bytes_changed, cut):
    path = tmp_path_factory.getbasetemp() / "fuzzed.zip"
    path.write_bytes(spoiled(zipped, bytes_changed, cut))
    with pytest.raises(BundleError), open_source(path) as source:
        accept(source, None)


MODELS = [
    (BUNDLE / "solver_train/training_model.onnx").read_bytes(),
    (BUNDLE / "synthesis_image.onnx").read_bytes(),
    wire.of(
        wire.field(5, wire.tensor()),
        wire.field(1, wire.node("Constant", wire.attribute(5, wire.tensor()))),
        wire.field(15, wire.field(1, wire.tensor()) + wire.field(2, wire.tensor())),
    ),
]


@EXAMPLES
@given(st.sampled_from(MODELS), changes, cuts)
def test_any_bytes_in_a_model(model, bytes_changed, cut):
    check(lambda: check_model(spoiled(model, bytes_changed, cut)), BundleError)


@EXAMPLES
@given(st.binary(max_size=300))
def test_any_bytes_as_a_model(content):
    check(lambda: check_model(content), BundleError)


messages = st.recursive(
    st.binary(max_size=6) | st.integers(0, (1 << 64) - 1),
    lambda inner: st.lists(st.tuples(st.integers(1, 26), inner), max_size=5).map(
        lambda fields: b"".join(wire.field(number, value) for number, value in fields)
    ),
    max_leaves=20,
)


@EXAMPLES
@given(st.lists(st.tuples(st.integers(1, 26), messages), max_size=6))
def test_any_fields_as_a_model(fields):
    content = b"".join(wire.field(number, value) for number, value in fields)
    check(lambda: check_model(content), BundleError)
    check(lambda: check_model(wire.model(content)), BundleError)
    check(lambda: check_model(wire.of(wire.field(5, content), wire.field(1, content))), BundleError)


@EXAMPLES
@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b""]), st.binary(max_size=300))
def test_any_bytes_as_the_header_of_an_image(start, content):
    try:
        size = images.image_size(start + content)
    except ValueError:
        return
    assert size.width > 0
    assert size.height > 0


PICTURES = [path.read_bytes() for path in sorted((BUNDLE.parent / "test/bag").iterdir())[:2]] + [
    (Path(__file__).parents[1] / "photos/coffee.jpg").read_bytes()
]


@settings(EXAMPLES, max_examples=60)
@given(st.sampled_from(PICTURES), changes, cuts)
def test_any_bytes_in_an_image(tmp_path_factory, picture, bytes_changed, cut):
    """Most of what is changed is pixels, so the first bytes are changed more often."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.png"
    near = [(at % 200, value) for at, value in bytes_changed]
    for changed in (bytes_changed, near):
        path.write_bytes(spoiled(picture, changed, cut))
        check(lambda: images.read_image(path), FramesError)


@EXAMPLES
@given(changes, cuts)
def test_any_bytes_in_a_key(keys, tmp_path_factory, bytes_changed, cut):
    path = tmp_path_factory.getbasetemp() / "fuzzed.pub"
    path.write_bytes(spoiled((keys / "provider.pub").read_bytes(), bytes_changed, cut))
    check(lambda: signing.read_public_key(path), BundleError)

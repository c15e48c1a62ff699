"""Bundle files: every damage is noticed, and weights are read and written in place bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reverie.device_runtime.bundle.contents import (
    fingerprint,
    read_manifest,
    read_verified,
    read_weights,
    write_weights,
)
from reverie.device_runtime.bundle.manifest import TensorRecord
from reverie.device_runtime.changes import installation
from reverie.device_runtime.errors import BundleError

# Any bit pattern, signalling NaNs among them.
floats = hnp.arrays(np.uint32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4)).map(lambda a: a.view(np.float32))


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "truncated": lambda c: c[: len(c) // 2],
    "emptied": lambda _: b"",
    "altered": flipped,
    "grown": lambda c: c + b"x",
}


@pytest.mark.parametrize("damage", [*DAMAGES, "removed"])
def test_damage_to_any_file_of_a_bundle_is_refused_and_nothing_is_installed(own_bundle, tmp_path, damage):
    names = list(read_manifest(own_bundle).files)
    assert {p.relative_to(own_bundle).as_posix() for p in own_bundle.rglob("*") if p.is_file()} == {
        *names,
        "manifest.json",
    }
    for name in names:
        path = own_bundle / name
        whole = path.read_bytes()
        if damage == "removed":
            path.unlink()
        else:
            path.write_bytes(DAMAGES[damage](whole))
        with pytest.raises(BundleError, match=name):
            installation.install(own_bundle, tmp_path / "home")
        assert [p.name for p in tmp_path.iterdir()] == ["own-bundle"]
        path.write_bytes(whole)
    installation.install(own_bundle, tmp_path / "home")


@given(st.binary(min_size=1, max_size=200), st.data())
def test_any_other_content_than_the_recorded_is_refused(tmp_path_factory, content, data):
    other = data.draw(st.binary(max_size=200).filter(lambda c: c != content))
    folder = tmp_path_factory.mktemp("file")
    (folder / "a").write_bytes(content)
    assert read_verified(folder, "a", fingerprint(content)) == content
    says = "was altered" if len(content) == len(other) else f"has .* bytes instead of {len(other)}"
    with pytest.raises(BundleError, match=says):
        read_verified(folder, "a", fingerprint(other))


@given(st.lists(floats, min_size=1, max_size=4), st.lists(st.binary(max_size=9), min_size=5, max_size=5), st.data())
def test_weights_are_written_in_place_and_read_again_bit_for_bit(arrays, gaps, data):
    """In a file with other bytes before, between and after the tensors, at offsets that need not be aligned."""
    content, places = bytearray(gaps[0]), {}
    for at, array in enumerate(arrays):
        places[f"w{at}"] = TensorRecord(len(content), array.shape)
        content += bytes(array.nbytes) + gaps[at + 1]
    weights = {f"w{at}": array for at, array in enumerate(arrays)}
    written = write_weights(bytes(content), places, weights)
    back = read_weights(written, places)
    assert len(written) == len(content)
    assert all(back[name].tobytes() == weights[name].tobytes() for name in weights)
    assert all(back[name].shape == weights[name].shape for name in weights)
    some = data.draw(st.sets(st.sampled_from(sorted(weights))))
    blank = {name: np.zeros(weights[name].shape, np.float32) for name in weights if name not in some}
    assert write_weights(written, places, blank | {n: weights[n] for n in some}) == write_weights(
        bytes(content), places, {n: weights[n] for n in some}
    )


@given(st.binary(max_size=64), st.integers(-9, 99), st.lists(st.integers(-3, 2**40), max_size=3).map(tuple))
def test_a_tensor_that_lies_outside_its_file_is_refused(content, offset, shape):
    place = TensorRecord(offset, shape)
    try:
        read = read_weights(content, {"w": place})["w"]
    except BundleError:
        return
    assert read.shape == shape
    assert read.tobytes() == content[offset : offset + read.nbytes]


def test_weights_without_a_place_or_of_another_shape_are_refused():
    places = {"w": TensorRecord(0, (2, 2))}
    for wrong in ({"v": np.zeros((2, 2), np.float32)}, {"w": np.zeros(4, np.float32)}):
        with pytest.raises(BundleError, match="has no place in the model"):
            write_weights(bytes(16), places, wrong)


def test_the_weights_of_every_model_are_where_the_manifest_says(models, grown):
    """Written back unchanged they give the same file; with more classes only the mask differs."""
    for name in ("solver", "generator", "discriminator"):
        assert models.model_file(name) == models.template(name)
    before = np.frombuffer(models.model_file("solver"), np.uint8)
    after = np.frombuffer(grown.model_file("solver"), np.uint8)
    place = models.manifest.tensors["solver"]["active"]
    changed = np.flatnonzero(before != after)
    assert len(changed)
    assert place.offset <= changed.min() <= changed.max() < place.offset + 4 * models.manifest.slots

"""What a manifest says of the statistics beside a generator is checked, and so are they, before a box takes them."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
from class_images import put

from reverie.device_runtime.bundle.contents import fingerprint, read_manifest
from reverie.device_runtime.bundle.manifest import MANIFEST, STATISTICS
from reverie.device_runtime.changes import installation
from reverie.device_runtime.errors import BundleError


@pytest.fixture
def own(hidden_bundle, tmp_path):
    """A copy of the bundle with statistics beside its generator."""
    return shutil.copytree(hidden_bundle, tmp_path / "own")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": 0}, "statistics are of 1 to 2048 features, not of 0"),
        ({"size": 2049}, "statistics are of 1 to 2048 features, not of 2049"),
        ({"size": 64}, "no linear layer behind"),
        ({"size": "128"}, "not stated by its size"),
        ({"size": True}, "not stated by its size"),
        ({"weight": "solver.hidden.weight"}, "no linear layer behind"),
        ({"weight": "solver.none"}, "solver.none"),
        ({"bias": None}, "names of two weights"),
        ({"epsilon": 0.0}, "is no shrinkage"),
        ({"epsilon": 1}, "with a shrinkage and a slope"),
        ({"epsilon": float("nan")}, "is no shrinkage"),
        ({"slope": 0.0}, "or 0.0 no slope"),
        ({"slope": float("inf")}, "or inf no slope"),
        ({"slope": "0.1"}, "with a shrinkage and a slope"),
    ],
)
def test_what_cannot_be_meant_is_refused(own, edit_manifest, change, told):
    stated = json.loads((own / MANIFEST).read_text("utf-8"))["hidden"]
    edit_manifest(own, hidden=stated | change)
    with pytest.raises(BundleError, match=told):
        read_manifest(own)


@pytest.mark.parametrize("stated", [3, "hidden", [1], {"size": 128}])
def test_what_states_nothing_is_refused(own, edit_manifest, stated):
    edit_manifest(own, hidden=stated)
    with pytest.raises(BundleError, match="is not a complete manifest"):
        read_manifest(own)


def test_a_manifest_that_names_no_file_of_them_is_refused(own, edit_manifest):
    files = json.loads((own / MANIFEST).read_text("utf-8"))["files"]
    edit_manifest(own, files={name: record for name, record in files.items() if name != STATISTICS})
    with pytest.raises(BundleError, match=f"it does not name {STATISTICS}"):
        read_manifest(own)


def test_statistics_take_the_place_of_a_generator_or_stand_beside_one(hidden_bundle, statistics_bundle, tmp_path):
    both = shutil.copytree(statistics_bundle, tmp_path / "both")
    values = json.loads((both / MANIFEST).read_text("utf-8"))
    values["hidden"] = json.loads((hidden_bundle / MANIFEST).read_text("utf-8"))["hidden"]
    (both / MANIFEST).write_text(json.dumps(values), "utf-8")
    with pytest.raises(BundleError, match="for a solver that takes images"):
        read_manifest(both)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("means", put((1, 2), np.nan), "not all finite"),
        ("scatter", put(0, -1.0), "negative variance"),
        ("means", lambda values: values[:, :64], "are not of 6 slots with 128 features"),
        ("counts", put(0, 3), "class slot 0 are of 3 images: 4 are needed"),
        ("counts", put(2, 0), "lacks one of sandal, t-shirt, trouser"),
    ],
)
def test_statistics_that_cannot_be_those_of_the_known_classes_are_not_installed(
    own, edit_manifest, tmp_path, name, change, told
):
    arrays = dict(np.load(own / STATISTICS))
    arrays[name] = change(arrays[name])
    content = io.BytesIO()
    np.savez(content, **arrays)
    (own / STATISTICS).write_bytes(content.getvalue())
    files = json.loads((own / MANIFEST).read_text("utf-8"))["files"]
    record = fingerprint(content.getvalue())
    edit_manifest(own, files=files | {STATISTICS: {"sha256": record.sha256, "size": record.size}})
    with pytest.raises(BundleError, match=told):
        installation.install(own, tmp_path / "home")
    assert not (tmp_path / "home").exists()

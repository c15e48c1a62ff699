"""What a manifest says of a rehearsal is taken as it was written, and refused where it would let anything pass."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from reverie.device_runtime.bundle.manifest import MANIFEST
from reverie.device_runtime.bundle.parsing import read_json
from reverie.device_runtime.bundle.rehearsal import Bound, Rehearsal
from reverie.device_runtime.errors import BundleError

REHEARSED = Rehearsal(
    updates=30,
    images=600,
    bounds={"agreement": Bound(0.95, 2, 6, 0, 24), "class canary": Bound(0.8, 5, 6, 1, 24)},
    synthesis=False,
    learning_rate=0.5,
    gains={"synthesis": -0.4},
)


@pytest.fixture
def stated(bundle):
    """What the manifest of the small bundle states, with a rehearsal."""
    return json.loads((bundle / MANIFEST).read_text()) | {"rehearsal": dataclasses.asdict(REHEARSED)}


def read(values):
    return read_json(json.dumps(values), Path("manifest.json"))


def test_a_rehearsal_is_read_as_it_was_written(stated):
    manifest = read(stated)
    assert manifest.rehearsal == REHEARSED
    assert read(json.loads(manifest.to_json())) == manifest
    assert read(stated | {"rehearsal": None}).rehearsal is None


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ({"least": "high"}, "a bound is no number with its counts"),
        ({"least": None}, "a bound is no number with its counts"),
        ({"least": float("nan")}, "nearly anything would pass"),
        ({"least": 0.0}, "nearly anything would pass"),
        ({"least": 1.5}, "nearly anything would pass"),
        ({"told": 7}, "right about more updates than there were"),
        ({"refused": -1}, "right about more updates than there were"),
        ({"harmless": 2.5}, "a bound is no number with its counts"),
    ],
)
def test_a_bound_that_is_none_is_refused_in_words(stated, bound, words):
    stated["rehearsal"]["bounds"]["agreement"] |= bound
    with pytest.raises(BundleError, match=words):
        read(stated)


@pytest.mark.parametrize(
    "change",
    [
        {"bounds": {"luck": dataclasses.asdict(Bound(0.9, 0, 0, 0, 1))}},
        {"bounds": [0.9]},
        {"learning_rate": 0.0},
        {"learning_rate": 7.0},
        {"learning_rate": "slow"},
        {"synthesis": "no"},
        {"updates": "many"},
        {"gains": {"synthesis": float("inf")}},
    ],
)
def test_what_else_cannot_be_is_refused_in_words(stated, change):
    stated["rehearsal"] |= change
    with pytest.raises(BundleError, match="is not a complete manifest"):
        read(stated)

"""The small bundle that keeps class statistics beside its generator."""

from __future__ import annotations

import pytest

from reverie.device_runtime.changes import installation
from reverie.device_runtime.home import store


@pytest.fixture(scope="session")
def hidden_box(hidden_bundle, tmp_path_factory):
    """A home that serves it; only read."""
    home = tmp_path_factory.mktemp("hidden") / "home"
    installation.install(hidden_bundle, home)
    return home


@pytest.fixture(scope="session")
def with_hidden(hidden_box):
    """The pretrained networks with these statistics: those of `models`, and no others."""
    return store.load_models(hidden_box, store.read_generation(hidden_box))

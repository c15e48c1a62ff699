"""What the tests of frames share."""

from __future__ import annotations

import pytest

from reverie.device_runtime.changes import installation
from reverie.device_runtime.home import store


@pytest.fixture(scope="session")
def pixel_models(repository, tmp_path_factory):
    """Of the demo: six kinds of clothes in pixels, statistics beside the generator."""
    home = tmp_path_factory.mktemp("pixels") / "home"
    return store.load_models(home, installation.install(repository / "models/fashion-demo/bundle", home))

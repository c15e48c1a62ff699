"""What the tests of reports share."""

from __future__ import annotations

import pytest

from reverie.device_runtime.home import store


@pytest.fixture
def shown(home):
    """What is told of generation 0, to be changed."""
    from reverie.tools.report.page import Shown  # which needs the extra `report`

    generation = store.read_generation(home)
    return Shown("home", generation, store.load_models(home, generation).manifest, {}, "kept", [], None, None, None)

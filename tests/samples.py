"""The small bundles of other kinds, for which the frames and test images of the one in `conftest.py` are."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def backbone_bundle(repository):
    """The small bundle with a backbone."""
    return repository / "models/format-2-backbone/bundle"


@pytest.fixture(scope="session")
def statistics_bundle(repository):
    """The same with class statistics in the place of a generator."""
    return repository / "models/format-2-statistics/bundle"


@pytest.fixture(scope="session")
def hidden_bundle(repository):
    """The small bundle itself, the same networks, with class statistics beside its generator."""
    return repository / "models/format-2-hidden/bundle"

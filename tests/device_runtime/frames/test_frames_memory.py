"""Memory of an update does not grow with its frames, which lie on the disk until they are needed."""

from __future__ import annotations

import pytest

from reverie.tools.bench.accuracy_start import apart
from reverie.tools.bench.speed.frames import measure_frames

pytestmark = pytest.mark.slow


def test_ten_times_as_many_frames_take_no_more_memory(repository):
    bundle = repository / "models/fashion-demo/bundle"
    few, many = (apart(measure_frames, bundle, count, False).peak_bytes for count in (1_000, 10_000))
    assert many < 1.1 * few

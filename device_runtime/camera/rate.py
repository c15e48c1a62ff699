"""How often something happens."""

from __future__ import annotations

import time
from collections import deque

MEASURED = 30
"""Of so many of the newest times."""


class Rate:
    """Counts what happens in one thread; any thread may ask."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MEASURED)

    def count(self) -> None:
        """It happened now."""
        self._times.append(time.monotonic())

    def clear(self) -> None:
        """What happened before does not count any more."""
        self._times.clear()

    @property
    def a_second(self) -> float:
        """How often in a second; 0 until it happened twice."""
        times = list(self._times)
        return (len(times) - 1) / max(times[-1] - times[0], 1e-6) if len(times) > 1 else 0.0

"""How `reverie bench speed` measures time: several things by turns, so that all meet the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Step = Callable[[], object]


def by_turns(steps: dict[str, Step], repeats: int) -> dict[str, float]:
    """Median milliseconds of each, measured in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 3):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if turn >= 3:  # the first ones allocate, and compile
                seconds[name].append(time.perf_counter() - started)
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}

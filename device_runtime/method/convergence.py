"""When a loss has converged."""

from __future__ import annotations


class Convergence:
    """Compares the mean loss of the last `window` steps with that of the `window` before.

    Converged when it has fallen by no more than `tolerance`, as a share of the earlier mean's magnitude.
    """

    def __init__(self, window: int, tolerance: float) -> None:
        self.window = window
        self.tolerance = tolerance
        self.recent: list[float] = []
        """Losses of the last two windows, all that an instance remembers."""

    def reached(self, loss: float) -> bool:
        """Take in the loss of one more step and tell whether the loss has converged."""
        self.recent = [*self.recent[-(2 * self.window - 1) :], loss]
        if len(self.recent) < 2 * self.window:
            return False
        before = sum(self.recent[: self.window]) / self.window
        now = sum(self.recent[self.window :]) / self.window
        return before - now <= self.tolerance * abs(before)

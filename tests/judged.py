"""What judges generations that tests write themselves."""

from __future__ import annotations

from reverie.device_runtime.home.store import Judgement


def serves(report):
    """A judge of `store.add_generation` that promotes whatever it sees."""
    return lambda _: Judgement(promoted=True, report=report)

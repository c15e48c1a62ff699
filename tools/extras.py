"""Libraries that only some verbs need, which come with an extra of the distribution."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from reverie.device_runtime.errors import HomeError


def require_extra(extra: str, modules: Sequence[str], needed: str, error: type[Exception] = HomeError) -> None:
    """Raise `error`, which says what is `needed` and how to get it, unless all `modules` are installed."""
    if any(importlib.util.find_spec(name) is None for name in modules):
        raise error(f"{needed}: install the extra `{extra}` of Reverie")

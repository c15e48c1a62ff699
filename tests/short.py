"""Updates of fewer steps than the default, in this process and in those that tests start.

It is part of scripts that run in a process of their own, on a box too: it imports nothing but the device runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.config import UpdateConfig

Shortened = Callable[[UpdateConfig], UpdateConfig]


def few(config: UpdateConfig) -> UpdateConfig:
    """A handful of steps in each stage: everything runs, and nothing is learnt."""
    return replace(
        config,
        replay=replace(config.replay, pool=64),
        fine_tune=replace(config.fine_tune, steps=6, batch=16),
        synthesis=replace(config.synthesis, count=20, batch=12, steps=3),
        retrain=replace(config.retrain, fit=replace(config.retrain.fit, steps=4, batch=16)),
        generative=replace(config.generative, steps=3, batch=8),
    )


def enough(config: UpdateConfig) -> UpdateConfig:
    """Steps enough to learn the two new classes of the small bundle."""
    return replace(
        config,
        replay=replace(config.replay, pool=1024),
        fine_tune=replace(config.fine_tune, steps=200, batch=128),
        synthesis=replace(config.synthesis, count=128, batch=128),
        retrain=replace(config.retrain, fit=replace(config.retrain.fit, steps=100, batch=128)),
        generative=replace(config.generative, steps=60, batch=32),
    )


def shorten(how: Shortened, patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """Let updates that begin in this process have as many steps as `how` gives them, and all else as they are told."""
    begin = transaction.begin

    def begun(home: Any, journal: Any, frames: Any, config: UpdateConfig, *more: Any) -> None:
        begin(home, journal, frames, how(config), *more)

    patch(transaction, "begin", begun)


def shorten_beside_a_camera(
    how: Shortened, until: Path | None = None, patch: Callable[[Any, str, Any], None] = setattr
) -> None:
    """The same of updates started beside a camera; they stay in fine-tuning `until` a file is there."""
    from reverie.tools.own_process import SAFE
    from reverie.tools.views import background

    own_command = background.own_command

    def shortened(*arguments: str) -> list[str]:
        python, option, code, *told = own_command(*arguments)
        return [python, option, SAFE + words(how) + ("" if until is None else words(wait_for, until)) + code, *told]

    patch(background, "own_command", shortened)


def wait_for(file: Path) -> None:
    """Let updates of this process stay in fine-tuning until `file` is there."""
    import time

    go_on = transaction.go_on

    def gone_on(home: Any, journal: Any, listener: Any = None, *more: Any, **named: Any) -> Any:
        def listen(now: Any) -> None:
            if listener is not None:
                listener(now)
            while now.stage == "fine-tune" and not file.exists():
                time.sleep(0.02)

        return go_on(home, journal, listen, *more, **named)

    transaction.go_on = gone_on


def words(what: Callable[..., Any], *told: Any) -> str:
    """What does the same at the start of a script: `words(few)`, `words(shorten_beside_a_camera, few)`."""
    does = f"shorten(short.{what.__name__})" if what in {few, enough} else f"{what.__name__}({_said(told)})"
    return f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import pathlib, short; short.{does}; "


def _said(told: tuple[Any, ...]) -> str:
    return ", ".join(f"pathlib.Path({str(x)!r})" if isinstance(x, Path) else f"short.{x.__name__}" for x in told)

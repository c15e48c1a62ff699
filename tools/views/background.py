"""An update in a process of its own, with little priority, beside a camera; how far it is, for whoever looks."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.errors import UpdateError, first_line
from reverie.device_runtime.frames.intake import HELD_BACK
from reverie.tools.own_process import own_command

NICENESS = 15
"""So that prediction goes first; a core that it leaves free is the update's all the same."""
PATIENCE = 15.0
"""Seconds for an update that is stopped to end by itself; whatever it was doing, it can be killed and gone on with."""
CURVE = 400
"""Points of a stage's loss that are kept; every second one goes whenever there are more."""


@dataclass(frozen=True)
class UpdateState:
    """How far an update is, or how it ended: `outcome` is None, "in service", "rejected", "failed" or "stopped"."""

    stage: str = "starting"
    step: int = 0
    steps: int = 0
    share: float = 0.0
    left: float | None = None
    """Seconds, once they can be told."""
    losses: dict[str, tuple[float, ...]] = field(default_factory=dict)
    outcome: str | None = None
    says: str = ""
    result: dict[str, Any] | None = None
    """Of one that succeeded, what `reverie update --json` prints: the generation, its report among it."""

    @property
    def held_back(self) -> tuple[str, ...]:
        """The labels that it held back, which `--insist` learns."""
        if self.result is None:
            return tuple(label for option, label in pairwise(_words(self.says)) if option == "--insist")
        set_aside = self.result.get("report", {}).get("set_aside", {})
        return tuple(label for label, why in set_aside.items() if any(says.startswith(HELD_BACK) for says in why))


class BackgroundUpdate:
    """`reverie update --home HOME` of the stored frames, or of what was cut off."""

    def __init__(self, home: Path, options: Sequence[str] = ()) -> None:
        """`options` of the command are left out where an update goes on that has its own.

        Raises HomeError, StorageError, UpdateError.
        """
        self._home = home
        self._before = _outcomes(home)
        goes_on = self._before[-1:] == [None]
        command = own_command("update", "--home", str(home), "--json", "--progress")
        self._state = UpdateState()
        self._stopped = False
        self._changed = threading.Condition()
        try:
            self._process = subprocess.Popen(  # noqa: S603 (our own command)
                command + ([] if goes_on else [*options]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for who started it, who then stops it
            )
        except OSError as error:
            raise UpdateError(f"cannot start a process for the update ({error.strerror}): try again") from error
        niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))  # less is for root to give
        os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)  # before it has threads, which inherit it
        self._listener = threading.Thread(target=self._listen, name="update", daemon=True)
        self._listener.start()

    @property
    def state(self) -> UpdateState:
        """How far it is."""
        with self._changed:
            return self._state

    def stop(self) -> UpdateState:
        """Let it save nothing more and end; what it saved is gone on with by the next update of this home."""
        self._stopped = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._listener.join(PATIENCE)
        if self._listener.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> UpdateState:
        """How it ended."""
        self._listener.join()
        return self.state

    def _listen(self) -> None:
        try:
            ended = self._ended()
        except Exception as error:  # noqa: BLE001 (whoever waits for the end must hear of one)
            ended = replace(self.state, outcome="failed", says=f"its end could not be read: {first_line(error)}")
        with self._changed:
            self._state = replace(ended, left=None)

    def _ended(self) -> UpdateState:
        """How it ended, once it has."""
        said: list[str] = []
        result = None
        with self._process as process:
            complaints = threading.Thread(target=_collect, args=(process.stderr, said), daemon=True)
            complaints.start()
            for line in process.stdout or ():
                try:
                    values = json.loads(line)
                except ValueError:
                    continue
                if "stage" in values:
                    self._note(values)
                else:
                    result = values
            complaints.join()
        code = process.returncode
        if code == 0:
            return replace(self.state, outcome="in service", result=result)
        if code < 0:
            words = f"ended by {signal.Signals(-code).name}; nothing was changed"
            return replace(self.state, outcome="stopped" if self._stopped else "failed", says=words, result=result)
        outcome = "stopped" if code == 130 else "failed"
        outcomes = _outcomes(self._home)
        if outcomes != self._before and outcomes[-1] == "rejected":
            outcome = "rejected"
        words = said[-1].removeprefix("reverie: ") if said else ""
        return replace(self.state, outcome=outcome, says=words, result=result)

    def _note(self, now: dict[str, Any]) -> None:
        with self._changed:
            losses = dict(self._state.losses)
            if now["loss"] is not None:
                curve = (*losses.get(now["stage"], ()), now["loss"])
                losses[now["stage"]] = curve if len(curve) <= CURVE else curve[::2]
            progress = {name: now[name] for name in ("stage", "step", "steps", "share", "left")}
            self._state = replace(self._state, losses=losses, **progress)


def _words(says: str) -> list[str]:
    """As a shell would take them; none where they are no command."""
    try:
        return shlex.split(says)
    except ValueError:
        return []


def _outcomes(home: Path) -> list[str | None]:
    """Of all updates, oldest first; None of one that has not ended."""
    return [update.outcome for update in transaction.look(home)[0]]


def _collect(stream: IO[str] | None, lines: list[str]) -> None:
    lines.extend(line.strip() for line in stream or () if line.strip())

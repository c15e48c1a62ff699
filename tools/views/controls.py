"""What keys do while somebody is at a camera, the same in the terminal and in the window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reverie.device_runtime.errors import ReverieError
from reverie.tools.views.session import Session
from reverie.tools.views.snapshot import Snapshot

KEYS = (
    ("1-9", "keep one as that class"),
    ("arrows", "choose a class"),
    ("Enter", "keep one as the class chosen"),
    ("Space", "keep on, or stop"),
    ("n", "name a new class"),
    ("u", "update now"),
    ("i", "learn what was held back too"),
    ("a, r", "accept the update, roll back"),
    ("s", "skip the unsure frame"),
    ("?", "these keys"),
    ("q", "leave"),
)
NOTHING_CHOSEN = "choose a class first, with its number or the arrow keys, or name one with n"
DIGITS = tuple("123456789")
ENTER, ESCAPE, BACKSPACE, UP, DOWN = "\r", "\x1b", "\x7f", "up", "down"
"""Keys that are no character, as the views report them."""


@dataclass
class Controls:
    """What the person has chosen and is typing. `says` is told until the next key."""

    session: Session
    chosen: str | None = None
    typing: str | None = None
    confirming: bool = False
    helping: bool = False
    leaving: bool = False
    says: str = ""

    def label(self, now: Snapshot) -> str | None:
        """What Enter and Space take a frame for: what was chosen, or what the solver is sure of."""
        if now.holding is not None:
            return now.holding
        return self.chosen if self.chosen in now.labels else now.suggested

    def press(self, key: str) -> None:
        """Do what `key` asks for; what cannot be done is said."""
        self.says = ""
        try:
            if self.typing is not None:
                self._type(key)
            elif self.confirming:
                self.confirming = False
                if key == "y":
                    self.session.roll_back("at the camera")
                    self.says = f"generation {self.session.snapshot.generation} is left for the one before"
            else:
                self._act(key, self.session.snapshot)
        except ReverieError as error:
            self.says = str(error)

    def _type(self, key: str) -> None:
        typed = self.typing or ""
        if key == ENTER:
            self.typing = None
            if typed.strip():
                self.session.name(typed.strip())
                self.chosen = typed.strip()
        elif key == ESCAPE:
            self.typing = None
        elif key == BACKSPACE:
            self.typing = typed[:-1]
        elif len(key) == 1 and key.isprintable():
            self.typing = typed + key

    def _act(self, key: str, now: Snapshot) -> None:
        actions: dict[str, Callable[[Snapshot], None]] = {
            UP: lambda now: self._choose(now, -1),
            DOWN: lambda now: self._choose(now, 1),
            ENTER: lambda now: self._keep(self.label(now), now),
            " ": self._hold,
            "n": lambda _: setattr(self, "typing", ""),
            "u": lambda _: self.session.start_update(),
            "i": lambda _: self.session.start_update(insist=True),
            "a": lambda _: self.session.accept(),
            "r": lambda _: setattr(self, "confirming", True),
            "s": lambda _: self.session.answer(None),
            "?": lambda _: setattr(self, "helping", not self.helping),
            ESCAPE: lambda _: setattr(self, "helping", False),
            "q": lambda _: setattr(self, "leaving", True),
        }
        if key in DIGITS and int(key) <= len(now.labels):
            self.chosen = now.labels[int(key) - 1]
            self._keep(self.chosen, now)
        elif key in actions:
            actions[key](now)

    def _choose(self, now: Snapshot, by: int) -> None:
        if now.labels:
            at = now.labels.index(self.chosen) if self.chosen in now.labels else min(-by, 0)
            self.chosen = now.labels[(at + by) % len(now.labels)]

    def _hold(self, now: Snapshot) -> None:
        label = self.label(now)
        if label is None:
            self.says = NOTHING_CHOSEN
        self.session.hold(None if now.holding is not None else label)

    def _keep(self, label: str | None, now: Snapshot) -> None:
        """The unsure frame if one waits, or else the newest."""
        if label is None:
            self.says = NOTHING_CHOSEN
        elif now.asking is not None:
            self.session.answer(label)
        else:
            self.session.keep(label)

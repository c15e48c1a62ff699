"""What happened to a home, and when, and by whom: entries that show when one was altered, left out or put between.

Every entry carries the SHA-256 of itself and of the hash before it. Entries hold names and figures, never pixels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One event; `at` is in UTC, `facts` JSON."""

    id: int
    at: str
    who: str
    event: str
    facts: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries."""
        return dataclasses.asdict(self) | {"facts": json.loads(self.facts)}


def entry_after(last: Entry | None, at: str, event: str, facts: dict[str, Any]) -> Entry:
    """The entry of `event`, chained to the `last` one."""
    entry = Entry(last.id + 1 if last else 1, at, user(), event, json.dumps(facts, sort_keys=True), "")
    return dataclasses.replace(entry, hash=_hash(last.hash if last else "", entry))


def first_broken(entries: Iterable[Entry]) -> int | None:
    """Id of the first entry that is not what was written after the one before it, or None if all are."""
    last_id, last_hash = 0, ""
    for entry in entries:
        if entry.id != last_id + 1 or entry.hash != _hash(last_hash, entry):
            return entry.id
        last_id, last_hash = entry.id, entry.hash
    return None


def user() -> str:
    """Name of the user who runs this process, or their number where they have no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _hash(previous: str, entry: Entry) -> str:
    text = json.dumps([previous, entry.id, entry.at, entry.who, entry.event, entry.facts])
    return hashlib.sha256(text.encode()).hexdigest()

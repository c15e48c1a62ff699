"""`reverie history`: who did what to a home, when and why, and with which figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reverie.tools.options import home_option, json_option

if TYPE_CHECKING:
    from reverie.device_runtime.home.audit import Entry


@click.command("history")
@home_option
@json_option
def command(home: Path, as_json: bool) -> None:
    """Show all that happened to the home, oldest first, from its audit log. Times are of UTC.

    Accuracies are means over labels on held-out frames. Exits 1 if the log was altered.
    """
    from reverie.device_runtime.changes import transaction
    from reverie.device_runtime.errors import HomeError
    from reverie.device_runtime.home import store
    from reverie.device_runtime.home.audit import first_broken

    entries = transaction.audit_log(home)
    broken = first_broken(entries)
    if as_json:
        kept = store.generations(home) + store.rejected(home)
        reports = {name: report for name in kept if (report := store.read_report(home, name)) is not None}
        values = {"events": [entry.to_json() for entry in entries], "reports": reports, "broken_at": broken}
        click.echo(json.dumps(values))
    else:
        _print(entries)
    if broken is not None:
        raise HomeError(
            f"the audit log of {home} was altered at entry {broken}: what it says from there on is not what was noted"
        )


def _print(entries: list[Entry]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column("when", no_wrap=True)
    table.add_column("who", no_wrap=True)
    for entry in entries:
        facts = json.loads(entry.facts)
        said = ", ".join(filter(None, (entry.event, _generation(facts), *_figures(facts))))
        why = facts.get("message") or facts.get("why") or ""
        shown = (entry.at[:19].replace("T", " "), entry.who, f"{said}\n{why}".rstrip())
        table.add_row(*(Text(str(part)) for part in shown))
    Console().print(table, markup=False)


def _generation(facts: dict[str, Any]) -> str:
    return f"{facts['generation']} → {facts['to']}" if "to" in facts else str(facts.get("generation", ""))


def _figures(facts: dict[str, Any]) -> Iterator[str]:
    """What was counted and measured, in words."""
    if isinstance(facts.get("labels"), dict):
        yield ", ".join(f"{count} of {label}" for label, count in facts["labels"].items())
    for label, reason, count in facts.get("reasons", ()):
        yield f"{count} of {label} {reason}"
    if "stored" in facts:
        scope = facts["scope"] if isinstance(facts["scope"], dict) else {}
        whose = f" of {scope['label']}" if scope.get("label") else ""
        yield f"{facts['stored']} stored and {facts['quarantined']} set aside{whose}"
    if "accuracy_after" in facts:
        yield f"held-out frames {_share(facts, 'accuracy_before')} → {_share(facts, 'accuracy_after')}"
    if agreement := _share(facts, "agreement"):
        yield f"agreement {agreement}"


def _share(facts: dict[str, Any], name: str) -> str:
    return f"{facts[name]:.1%}" if isinstance(facts.get(name), float) else ""

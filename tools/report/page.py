"""The HTML file of `reverie report`: every picture and plot is in it, and nothing is asked of anywhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from reverie.device_runtime.bundle.manifest import Manifest
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.home.audit import Entry
from reverie.device_runtime.home.store import Generation
from reverie.tools.report import plots
from reverie.tools.report.html import document, image, plot, table

THUMBNAIL = 96
"""Pixels of the longer side of a frame."""


@dataclass(frozen=True)
class Shown:
    """What is told of one generation. `report` is empty for one that came with a bundle."""

    home: str
    generation: Generation
    manifest: Manifest
    report: dict[str, Any]
    state: str
    history: list[Entry]
    generated: bytes | None
    """PNG, a row a class."""
    synthesised: bytes | None
    frames: list[tuple[str, str, bytes]] | None
    """Label, reason or "", and JPEG, where they were asked for."""


def page(shown: Shown) -> str:
    """The whole file."""
    title = f"Generation {shown.generation.name} of {shown.manifest.name}"
    sections = [_head(shown, title)]
    if shown.report:
        sections += [_learnt(shown.report), _losses(shown.report), _decision(shown.report)]
        sections += [_left_out(shown.report), _set_aside(shown.report)]
    sections.insert(2, _pictures(shown))
    if shown.report:
        sections += [_cost(shown.report), _settings(shown.report)]
    sections += [_history(shown.history), _frames(shown.frames)]
    return document(title, sections)


def _head(shown: Shown, title: str) -> str:
    generation, kind = shown.generation, "rejected" if shown.state == "rejected" else ""
    reasons = shown.report.get("promotion", {}).get("reasons", [])
    why = f"<p>It was not fit to serve: {escape('; '.join(reasons))}.</p>" if reasons else ""
    came = f"made from generation {generation.parent}" if generation.parent else "as it came with the bundle"
    return (
        f'<h1>{escape(title)}</h1><p><span class="state {kind}">{shown.state}</span></p>{why}'
        f'<p class="faint">{escape(came)} on {escape(_time(generation.created))}, in {escape(shown.home)}</p>'
        f"<p>{len(generation.classes)} classes: {escape(', '.join(generation.classes))}. "
        f"{shown.manifest.slots - len(generation.classes)} spare class slots.</p>"
    )


def _learnt(report: dict[str, Any]) -> str:
    rows = [
        (r["label"], str(r["frames"]), str(r["held_out"]), _share(r["before"], "new"), _share(r["after"], "–"))
        for r in report["classes"]
    ]
    matrix = plots.confusion(report["confusion"]) if report.get("confusion") else None
    confused = plot(matrix, "Held-out frames by their label (rows) and what they were taken for.") if matrix else ""
    return (
        "<h2>What it learnt</h2>"
        + plot(plots.accuracy(report["classes"]), "Held-out frames of this update: a fifth, which was not learnt.")
        + table(("class", "frames", "held out", "before", "after"), rows)
        + confused
        + f"<p>Kept, as far as generated inputs tell: on those of the classes known before, it agrees with the solver "
        f"before it in {report['agreement']:.1%}.</p>"
    )


def _pictures(shown: Shown) -> str:
    if shown.manifest.backbone is not None:
        return (
            "<h2>Generated and synthesised inputs</h2><p>This solver works on features of its backbone, so what is "
            "generated and synthesised are features too, and no pictures.</p>"
        )
    found = ""
    if shown.generated:
        found += _rows(shown.generated, shown.generation.classes, "Generated inputs: how it remembers each class.")
    if shown.synthesised:
        words = "Synthesised inputs, a row a reference label: what the trained solver was about to forget."
        found += _rows(shown.synthesised, shown.report.get("synthesised", []), words)
    return f"<h2>Generated and synthesised inputs</h2>{found}" if found else ""


def _rows(picture: bytes, labels: Sequence[str], words: str) -> str:
    """A picture with the name of each of its rows beside it."""
    names = "".join(f"<li>{escape(label)}</li>" for label in labels)
    return (
        f'<figure><div class="rows"><ol>{names}</ol>{image(picture, "png", words)}</div>'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _losses(report: dict[str, Any]) -> str:
    if not any(len(stage["losses"]) > 1 for stage in report["stages"].values()):
        return ""
    return "<h2>Losses</h2>" + plot(plots.losses(report["stages"]), "The loss of each stage that trains or searches.")


def _decision(report: dict[str, Any]) -> str:
    promotion = report.get("promotion")
    if not promotion:
        return ""
    generator = promotion["generator"]
    words = "is used" if generator["promoted"] else "was refused, and the one before is kept"
    missing = ", ".join(generator.get("without_replay", []))
    return (
        "<h2>Is it fit to serve?</h2>"
        + _checks(promotion["checks"])
        + (f"<p>Not known for sure: {escape(promotion['unknown'])}.</p>" if promotion.get("unknown") else "")
        + f"<h2>The generator</h2><p>The updated generator {words}."
        + (f" It does not show {escape(missing)}." if missing else "")
        + "</p>"
        + _checks(generator["checks"])
    )


def _checks(checks: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr{'' if c['passed'] else ' class=failed'}><td>{escape(c['name'])}</td><td>{_value(c['measured'])}</td>"
        f"<td>{_value(c['bound'])}</td><td>{'passed' if c['passed'] else escape(c['says'])}</td></tr>"
        for c in checks
    )
    head = "<tr><th>check</th><th>measured</th><th>bound</th><th></th></tr>"
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _left_out(report: dict[str, Any]) -> str:
    rows = list(report.get("not_learnt", {}).items())
    return "<h2>Labels left out</h2>" + table(("label", "why"), rows) if rows else ""


def _set_aside(report: dict[str, Any]) -> str:
    rows = [
        (label, str(n), reason)
        for label, why in report.get("set_aside", {}).items()
        for reason, n in why.items()
    ]  # fmt: skip
    return "<h2>Frames set aside</h2>" + table(("label", "frames", "reason"), rows) if rows else ""


def _cost(report: dict[str, Any]) -> str:
    seconds = sum(stage["seconds"] for stage in report["stages"].values())
    return f"<h2>Time and memory</h2><p>{seconds:.0f} seconds in all.</p>" + plot(plots.cost(report["stages"]), "")


def _settings(report: dict[str, Any]) -> str:
    default = dataclasses.asdict(UpdateConfig())
    changed = [(name, str(value)) for name, value in _changes(report.get("config", {}), default)]
    if not changed:
        return "<h2>Settings</h2><p>The default.</p>"
    return "<h2>Settings other than the default</h2>" + table(("setting", "value"), changed)


def _changes(values: dict[str, Any], default: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        usual = default.get(name)
        if isinstance(value, dict) and isinstance(usual, dict):
            yield from _changes(value, usual, f"{prefix}{name}.")
        elif value != usual and not (isinstance(usual, tuple) and tuple(value) == usual):
            yield prefix + name, value


def _history(entries: list[Entry]) -> str:
    rows = [(_time(entry.at), entry.who, entry.event, _why(entry)) for entry in entries]
    return "<h2>History</h2>" + table(("when", "who", "what", "why"), rows) if rows else ""


def _why(entry: Entry) -> str:
    facts = json.loads(entry.facts)
    return str(facts.get("message") or facts.get("why") or "")


def _frames(frames: list[tuple[str, str, bytes]] | None) -> str:
    if not frames:
        return "" if frames is None else "<h2>Frames</h2><p>The home holds none.</p>"
    shown = "".join(
        f"<figure>{image(content, 'jpeg', label)}<figcaption>{escape(label)}{escape(f': {reason}' if reason else '')}"
        "</figcaption></figure>"
        for label, reason, content in frames
    )
    return f'<h2>Frames that the home holds</h2><div class="frames">{shown}</div>'


def _share(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.1%}"


def _value(value: float | str) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.3g}"


def _time(at: str) -> str:
    return at[:19].replace("T", " ")

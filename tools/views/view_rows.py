"""What a view says, as rows of text, from a Snapshot and what the person does: the terminal and the window show it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from reverie.device_runtime.serving.predictor import Prediction
from reverie.tools.display import minutes
from reverie.tools.views.background import UpdateState
from reverie.tools.views.controls import KEYS, Controls
from reverie.tools.views.snapshot import Snapshot

SPARKS = "▁▂▃▄▅▆▇█"
DIM, BOLD, GOOD, BAD, ASK = (
    Style(dim=True),
    Style(bold=True),
    Style(color="green"),
    Style(color="yellow"),
    Style(color="cyan", bold=True),
)


def rows(now: Snapshot, controls: Controls, columns: int, height: int, *, plain: bool) -> list[Text]:
    """`height` lines of at most `columns` cells, the least important left out; `plain` in ASCII."""
    foot = _foot(controls, columns)
    if controls.helping:
        told = [_line((f"{key:7}", BOLD), (what, None), columns=columns) for key, what in KEYS]
        return _filled(told, height, foot)
    head = _head(now, columns)
    seen = _prediction(now, columns, plain=plain)
    said = _said(now, controls, columns, plain=plain)
    update = _update(now.update, columns, plain=plain)
    room = height - len(head) - len(seen) - len(said) - len(update) - 1
    classes = _classes(now, controls, columns, max(room - 2, 1), plain=plain)
    lines = [*head, *_apart(seen, room - len(classes) > 1), *_apart(classes, room - len(classes) > 0), *said, *update]
    return _filled(lines, height, foot)


def _filled(lines: list[Text], height: int, foot: Text) -> list[Text]:
    return [*lines[: height - 1], *[Text()] * (height - 1 - len(lines)), foot]


def _apart(lines: list[Text], apart: bool) -> list[Text]:
    return [Text(), *lines] if apart and lines else lines


def _head(now: Snapshot, columns: int) -> list[Text]:
    live = now.camera.name == "live"
    speed = f"{now.rate:.0f}/s, {1000 * now.moment.seconds:.0f} ms" if now.moment is not None and live else ""
    return [
        _line(("Reverie ", BOLD), (f"generation {now.generation}  {speed}", DIM), columns=columns),
        _line(("camera ", DIM), (now.camera.says, GOOD if live else BAD), columns=columns),
    ]


def _prediction(now: Snapshot, columns: int, *, plain: bool) -> list[Text]:
    """The three likeliest labels of the frame that is shown."""
    if now.shown is None:
        return [_line(("no frame yet", DIM), columns=columns)]
    asks = [_line(("Not sure. What is this?", ASK), columns=columns)] if now.asking is not None else []
    return asks + _bars(now.shown.prediction, columns, plain=plain)


def _bars(prediction: Prediction, columns: int, *, plain: bool) -> list[Text]:
    best = prediction.likeliest(3)
    name = min(max(cell_len(label) for label, _ in best), columns // 2)
    full = max(columns - name - 8, 0)
    lines = []
    for at, (label, probability) in enumerate(best):
        bar = ("#" if plain else "━") * round(full * probability)
        style = BOLD if at == 0 else DIM
        said = _fitted(label, name)
        lines.append(_line((f"{said} ", style), (f"{probability:5.0%} ", style), (bar, GOOD), columns=columns))
    return lines


def _classes(now: Snapshot, controls: Controls, columns: int, most: int, *, plain: bool) -> list[Text]:
    """A line a class with its key and its stored frames, around the one that is chosen."""
    label = controls.label(now)
    at = now.labels.index(label) if label in now.labels else 0
    first = max(0, min(at - most // 2, len(now.labels) - most))
    name = max(min(max((cell_len(name) for name in now.labels), default=0), columns - 24), 6)
    lines = []
    for number in range(first, min(first + most, len(now.labels))):
        own = now.labels[number]
        key = str(number + 1) if number < 9 else " "
        mark = ("> " if plain else "▸ ") if own == label else "  "
        count = now.counts.get(own, 0)
        state = "keeping" if own == now.holding else "Enter" if own == label else ""
        style = BOLD if own == label else None
        kept = f"{count:>4} frame{'s' if count != 1 else ' '}" if count else " " * 11
        lines.append(
            _line((mark, GOOD), (f"{key} ", DIM), (_fitted(own, name), style), (f" {kept} ", None), (state, GOOD),
                  columns=columns)
        )  # fmt: skip
    return lines or [_line(("no class yet: press n to name one", DIM), columns=columns)]


def _said(now: Snapshot, controls: Controls, columns: int, *, plain: bool) -> list[Text]:
    """What is asked of the person, or else what became of the last frame."""
    if controls.typing is not None:
        return [_line(("New class: ", ASK), (controls.typing, BOLD), ("_" if plain else "▏", ASK), columns=columns)]
    if controls.confirming:
        return [_line(("Back to the generation before? y or n", ASK), columns=columns)]
    if controls.says or now.trouble:
        return _wrapped(controls.says or now.trouble, columns, BAD, 3)
    if now.last is None:
        return [Text()]
    if now.last.reason is None:
        return [_line(("+ " if plain else "✓ ", GOOD), (f"kept as {now.last.label}", None), columns=columns)]
    return [_line(("- " if plain else "✗ ", BAD), (f"not kept: {now.last.reason}", None), columns=columns)]


def _update(update: UpdateState | None, columns: int, *, plain: bool) -> list[Text]:
    if update is None:
        return []
    if update.outcome is None:
        left = "" if update.left is None else f"  {minutes(update.left)} left"
        full = max(columns - 5, 1)
        done = round(full * update.share)
        bar = ("#" * done + "." * (full - done)) if plain else ("━" * done + "╌" * (full - done))
        losses = update.losses.get(update.stage, ())
        spark = "" if plain else sparkline(losses, max(columns - 12, 0))
        loss = f"loss {losses[-1]:6.3f} " if losses else ""
        return [
            _line(("Learning: ", BOLD), (f"{update.stage}{left}", None), columns=columns),
            _line((bar, GOOD), (f" {update.share:4.0%}", None), columns=columns),
            _line((loss, DIM), (spark, GOOD), columns=columns),
        ]
    insist = []
    if update.held_back:
        held = f"Held back: {', '.join(update.held_back)}. "
        insist = [_line((held, BAD), ("i learns it all the same", DIM), columns=columns)]
    if update.result is None:
        return [*_wrapped(f"Update {update.outcome}: {update.says}", columns, BAD, 4), *insist]
    lines = [_line(("Learnt. ", BOLD), ("a accepts, r goes back", DIM), columns=columns)]
    for row in update.result["report"]["classes"]:
        before = "new" if row["before"] is None else f"{row['before']:.0%}"
        after = "-" if row["after"] is None else f"{row['after']:.0%}"
        arrow = "->" if plain else "→"
        lines.append(
            _line((f"  {_fitted(row['label'], 16)}", None), (f" {before:>4} {arrow} {after:>4}", GOOD), columns=columns)
        )
    return lines + insist


def _foot(controls: Controls, columns: int) -> Text:
    if controls.typing is not None:
        return _line(("Enter", BOLD), (" takes it  ", DIM), ("Esc", BOLD), (" leaves it", DIM), columns=columns)
    parts: list[tuple[str, Style | None]] = []
    for key, what in (("q", "leave"), ("?", "keys"), ("n", "new"), ("space", "keep"), ("u", "update")):
        parts += [(key, BOLD), (f" {what}  ", DIM)]
    text = _line(*parts, columns=columns + 2)
    text.truncate(columns)
    return text


def sparkline(values: Sequence[float], columns: int) -> str:
    """The newest `columns` of `values`, the lowest as the lowest block."""
    newest = list(values)[-columns:] if columns else []
    if not newest:
        return ""
    low, high = min(newest), max(newest)
    return "".join(SPARKS[round((len(SPARKS) - 1) * (value - low) / ((high - low) or 1.0))] for value in newest)


def _line(*parts: tuple[str, Style | None], columns: int) -> Text:
    """One line that ends with an ellipsis where it would be longer."""
    text = Text.assemble(*((part, style or "") for part, style in parts))
    text.truncate(columns, overflow="ellipsis")
    return text


def _wrapped(words: str, columns: int, style: Style, most: int) -> list[Text]:
    """As many as `most` lines of `words`."""
    lines: list[str] = [""]
    for word in words.split():
        if lines[-1] and cell_len(f"{lines[-1]} {word}") > columns:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    cut = lines[:most]
    return [_line((line + (" …" if at == most - 1 < len(lines) - 1 else ""), style), columns=columns)
            for at, line in enumerate(cut)]  # fmt: skip


def _fitted(words: str, cells: int) -> str:
    """`words` in exactly so many cells."""
    if cell_len(words) <= cells:
        return set_cell_size(words, cells)
    return set_cell_size(words, max(cells - 1, 0)) + "…"

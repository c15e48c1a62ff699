"""What `reverie bench harm` found, by kind of update, and beside what no update may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reverie.device_runtime.config import PromotionConfig
from reverie.tools.bench import markdown
from reverie.tools.bench.harm.outcomes import HELD_BACK, PROMOTED, REFUSED, SKIPPED, Outcome, Score, total

POINT = 0.01
MISLABELLED = 0.2
"""Share of wrong labels from which on no update may cost known classes more than a point."""


class Table(NamedTuple):
    """Headings, and rows of as many cells."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def tables(outcomes: Sequence[Outcome]) -> list[Table]:
    """All that is shown: kinds, what no update may do, each class, and what was said."""
    played = [outcome for outcome in outcomes if outcome.outcome != SKIPPED]
    return [by_kind(outcomes), bars(played), by_class(played), reasons(outcomes)]


def by_kind(outcomes: Sequence[Outcome]) -> Table:
    """A row for each kind of update, over its seeds; accuracies are of those that serve."""
    heads = (
        *("kind", "labels", "frames", "promoted / refused / held back", "all classes, %", "lost", "won", "points"),
        *("known, not shown: points", "worst class", "new right, %", "not served: points"),
    )
    return Table(heads, [_kind_row(kind, runs) for kind, runs in _grouped(outcomes).items()])


def bars(outcomes: Sequence[Outcome]) -> Table:
    """What no update may do, and which did. None of `outcomes` was skipped."""
    serve = [o for o in outcomes if o.serves]
    others = [(total(o.not_shown.values()).change, o) for o in serve if o.honest and o.not_shown]
    worst = min(others, key=lambda pair: pair[0], default=None)
    many = [o for o in outcomes if o.mislabelled >= MISLABELLED]
    few = [o for o in outcomes if 0 < o.mislabelled < MISLABELLED]
    least = PromotionConfig().floor / 2
    new = [(label, score, o) for o in serve for label, score in o.new.items()]
    unlearnt = [(f"{label} of {o.kind}", o.seed) for label, score, o in new if score.after < least * score.of]
    helped = [o for o in outcomes if o.honest and o.scores and o.all.change >= POINT]
    rows = [
        ("fewer test images right, beyond two standard errors", _found(_runs(serve, lambda o: o.all.harmed), serve)),
        ("honest: points of known classes not shown, on average", _mean([change for change, _ in others])),
        (
            "honest: the same, the worst",
            "" if worst is None else f"{100 * worst[0]:+.1f}: {worst[1].kind} ({worst[1].seed})",
        ),
        ("20 % wrong labels or more, and known classes lose more than a point", _found(_runs(many, _costs), many)),
        ("fewer wrong labels, and known classes lose more than a point", _found(_runs(few, _costs), few)),
        (f"new classes with less than {least:.0%} of test images right", _found(unlearnt, new)),
        ("honest, a gain of a point, and refused or held back", _found(_runs(helped, lambda o: not o.serves), helped)),
    ]
    return Table(("of updates that serve, but for the last row", "found"), rows)


def by_class(outcomes: Sequence[Outcome]) -> Table:
    """Points that each class changed by in each kind of update that serves; new ones, the share that is right."""
    labels = list(dict.fromkeys(label for o in outcomes if o.serves for label in o.scores))
    rows = []
    for kind, runs in _grouped(o for o in outcomes if o.serves).items():
        cells = [total(o.scores[label] for o in runs if label in o.scores) for label in labels]
        rows.append((kind, *(_points(score) for score in cells)))
    return Table(("points, where it serves", *labels), rows)


def reasons(outcomes: Iterable[Outcome]) -> Table:
    """What was said of each update, with the seeds to which it was said in the same words."""
    said: dict[tuple[str, str, str], list[int]] = {}
    for o in outcomes:
        if o.why:
            said.setdefault((o.kind, o.outcome, o.why), []).append(o.seed)
    rows = [(kind, ", ".join(map(str, seeds)), outcome, why) for (kind, outcome, why), seeds in said.items()]
    return Table(("kind", "seeds", "outcome", "why"), rows)


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """For a document."""
    return "\n\n".join(markdown.table(table.headings, table.rows) for table in tables(outcomes) if table.rows)


def print_tables(console: Console, outcomes: Sequence[Outcome]) -> None:
    """For a terminal."""
    for table in tables(outcomes):
        if table.rows:
            print_table(console, table)


def print_table(console: Console, table: Table) -> None:
    """For a terminal."""
    shown = RichTable(*table.headings)
    for row in table.rows:
        shown.add_row(*map(Text, row))
    console.print(shown)


def _kind_row(kind: str, runs: list[Outcome]) -> tuple[str, ...]:
    serve = [o for o in runs if o.serves]
    counts = " / ".join(str(sum(o.outcome == name for o in runs)) for name in (PROMOTED, REFUSED, HELD_BACK))
    skipped = all(o.outcome == SKIPPED for o in runs)
    frames = sorted({o.frames for o in runs if o.frames})
    summed = total(o.all for o in serve)
    others = [total(o.not_shown.values()) for o in serve if o.not_shown]
    worst = [score for o in serve for score in o.not_shown.values()]
    made = [o.all for o in runs if o.scores and not o.serves]
    new = total(score for o in serve for score in o.new.values())
    return (
        kind,
        "honest" if runs[0].honest else "wrong",
        "–".join(dict.fromkeys(str(count) for count in (frames[0], frames[-1]))) if frames else "",
        SKIPPED if skipped else counts,
        f"{100 * summed.before / summed.of:.1f} → {100 * summed.after / summed.of:.1f}" if summed.of else "",
        str(summed.lost) if serve else "",
        str(summed.won) if serve else "",
        f"{100 * summed.change:+.1f} ± {100 * summed.error:.1f}" if serve else "",
        _points(total(others)),
        f"{100 * min(score.change for score in worst):+.1f}" if worst else "",
        f"{100 * new.after / new.of:.1f}" if new.of else "",
        _points(total(made)),
    )


def _grouped(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.kind, []).append(outcome)
    return groups


def _points(score: Score) -> str:
    return f"{100 * score.change:+.1f}" if score.of else ""


def _mean(changes: Sequence[float]) -> str:
    return f"{100 * sum(changes) / len(changes):+.2f}" if changes else ""


def _costs(outcome: Outcome) -> bool:
    return outcome.serves and outcome.old.change < -POINT


def _runs(outcomes: Iterable[Outcome], which: Callable[[Outcome], bool]) -> list[tuple[str, int]]:
    return [(o.kind, o.seed) for o in outcomes if which(o)]


def _found(some: Sequence[tuple[str, int]], of: Sequence[object]) -> str:
    """How many, and which with which seeds."""
    seeds: dict[str, list[str]] = {}
    for name, seed in some:
        seeds.setdefault(name, []).append(str(seed))
    named = "; ".join(f"{name} ({', '.join(each)})" for name, each in seeds.items())
    return f"{len(some)} of {len(of)}" + (f": {named}" if named else "")

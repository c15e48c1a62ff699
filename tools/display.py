"""What the verbs show on a terminal: progress of an update, and its result as tables."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reverie.device_runtime.bundle.manifest import Manifest
    from reverie.device_runtime.bundle.preprocess import Preprocessing
    from reverie.device_runtime.bundle.rehearsal import Rehearsal
    from reverie.device_runtime.method.monitor import Listener, Progress


@contextmanager
def update_progress(console: Console, title: str) -> Iterator[Listener]:
    """A listener for an update: a live bar on a terminal, one line a stage elsewhere."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield _stage_lines(console)
        return
    bar = Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=1.0, detail="")

        def listen(now: Progress) -> None:
            loss = "" if now.loss is None else f"  loss {now.loss:.3f}"
            detail = f"step {now.step}/{now.steps}{loss}  {minutes(seconds_left(now))} left"
            bar.update(task, completed=now.share, description=now.stage, detail=detail)

        yield listen


def describe_backbone(manifest: Manifest) -> str:
    """One line on a bundle's backbone."""
    until = manifest.backbone.until if manifest.backbone else "none"
    shape = "x".join(map(str, manifest.input_shape))
    of = f"{describe_power(manifest.backbone.power)} of " if manifest.backbone and manifest.statistics else ""
    return f"backbone:    the solver's frozen front, until {until}; inputs are {of}its features, {shape}"


def describe_power(power: float) -> str:
    """What the features of a backbone are raised to, in words that "of its features" can follow."""
    return {0.5: "square roots", 1.0: "values"}.get(power, f"powers {power:g}")


def describe_canary(manifest: Manifest) -> str:
    """One line on a bundle's canary images."""
    record = manifest.files.get("canary.npz")
    return f"canary: {record.size / 1e3:.0f} kB of images to test updates on" if record else "canary: none"


def describe_rehearsal(rehearsal: Rehearsal | None) -> list[str]:
    """What was rehearsed with a bundle and what it taught, a line each."""
    if rehearsal is None:
        return ["rehearsal: none, so the cautious defaults stand: reverie rehearse plays one with held-out images"]
    harmful = max((bound.harmful for bound in rehearsal.bounds.values()), default=0)
    lines = [f"rehearsal: {rehearsal.updates} updates with {rehearsal.images:,} held-out images, {harmful} did harm"]
    for name, bound in rehearsal.bounds.items():
        told = (
            f"tells {bound.told} of {bound.harmful} harmful updates, refuses {bound.refused} of {bound.harmless} others"
        )
        unused = "" if bound.told else "; no update is held to it"
        lines.append(f"  {name} of {bound.least:.1%} or more: {told}{unused}")
    for what, gain in rehearsal.gains.items():
        lines.append(f"  {what}: {f'{gain:+.2f} points of all classes' if gain else 'no difference beyond chance'}")
    if rehearsal.gains:
        runs = "runs" if rehearsal.synthesis else "is left out"
        lines.append(f"  so the synthesis {runs}, and stage 2 learns at {rehearsal.learning_rate:g} of the usual rate")
    return lines


def describe_preprocessing(how: Preprocessing) -> str:
    """In words, how an image becomes an input."""
    size = f"{how.height}x{how.width}"
    resize = {
        "exact": f"of exactly {size}",
        "stretch": f"stretched to {size} ({how.interpolation})",
        "shorter": f"shorter side to {how.shorter}, middle {size} cut out ({how.interpolation})",
    }[how.resize]
    return f"{how.colour} image {resize}, (pixel - {_short(how.mean)}) / {_short(how.scale)}, {how.layout}"


def _short(numbers: float | tuple[float, ...]) -> str:
    if isinstance(numbers, tuple):
        return f"({', '.join(map(_short, numbers))})"
    return f"{numbers:.6g}"


def step_progress(console: Console) -> Callable[[str, int, int, float | None], None]:
    """For pretraining: a line at the start, the middle and the end of what is trained."""

    def listen(what: str, step: int, steps: int, loss: float | None) -> None:
        if step in {1, steps} or step % max(1, steps // 10) == 0:
            console.print(f"{what:10} step {step:>6}/{steps}" + ("" if loss is None else f"  loss {loss:.3f}"))

    return listen


def _stage_lines(console: Console) -> Listener:
    def listen(now: Progress) -> None:
        if now.step == now.steps:
            loss = "" if now.loss is None else f"  loss {now.loss:.3f}"
            console.print(
                f"{now.stage}: {now.steps} steps{loss}  {now.share:.0%} done, {minutes(seconds_left(now))} left",
                highlight=False,
            )

    return listen


def progress_lines() -> Listener:
    """For other programs: JSON on stdout, ten lines a second at most, and one at the start and end of each stage."""
    last, stage = -1.0, ""

    def listen(now: Progress) -> None:
        nonlocal last, stage
        if now.stage != stage or now.step == now.steps or now.seconds - last >= 0.1:
            last, stage = now.seconds, now.stage
            with contextlib.suppress(OSError):  # whoever listened is gone: the update goes on
                click.echo(json.dumps(dataclasses.asdict(now) | {"left": seconds_left(now)}))

    return listen


def seconds_left(now: Progress) -> float:
    """Of the whole update, if it goes on as it went."""
    return now.seconds * (1 - now.share) / max(now.share, 1e-3)


def minutes(seconds: float) -> str:
    """As m:ss."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def print_report(console: Console, report: dict[str, Any]) -> None:
    """The tables at the end of an update, from what `report.json` holds."""
    classes = Table(title="Learnt: held-out frames of this update", title_justify="left")
    for heading in ("label", "frames", "held out", "before", "after"):
        classes.add_column(heading, justify="left" if heading == "label" else "right")
    for row in report["classes"]:
        before = "new" if row["before"] is None else f"{row['before']:.1%}"
        after = "-" if row["after"] is None else f"{row['after']:.1%}"
        classes.add_row(Text(row["label"]), str(row["frames"]), str(row["held_out"]), before, after)
    console.print(classes)
    for says in report.get("not_learnt", {}).values():
        console.print(f"Left out: {says}.", style="yellow", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"Kept, as far as generated inputs tell: of those of the classes known before, the updated solver agrees "
        f"with the previous one in {report['agreement']:.1%}."
    )
    unknown = report.get("promotion", {}).get("unknown")
    if unknown:
        console.print(f"Not known for sure: {unknown}.", style="dim", markup=False, highlight=False, soft_wrap=True)
    _print_generator(console, report.get("promotion", {}).get("generator"))
    stages = Table(title="Stages", title_justify="left")
    for heading in ("stage", "steps", "last loss", "seconds", "peak memory"):
        stages.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, stage in report["stages"].items():
        losses = stage["losses"]
        stages.add_row(
            name,
            str(stage["steps"]) if stage["steps"] else "",
            f"{losses[-1]:.3f}" if losses else "",
            f"{stage['seconds']:.1f}",
            f"{stage['peak_bytes'] / 1e6:.0f} MB",
        )
    console.print(stages)


def _print_generator(console: Console, judged: dict[str, Any] | None) -> None:
    """Say where replay will be missing, if anywhere."""
    if judged is None:
        return
    if not judged["promoted"]:
        reasons = "; ".join(check["says"] for check in judged["checks"] if not check["passed"])
        console.print(
            f"The updated generator was refused and the previous one stays: {reasons}.", highlight=False, markup=False
        )
    if judged["without_replay"]:
        labels = ", ".join(judged["without_replay"])
        said = f"The generator does not show {labels}: show frames of these again in the next update."
        console.print(said, markup=False)


def print_set_aside(console: Console, set_aside: dict[str, dict[str, int]], folder: Path | None) -> None:
    """Which frames an update did not learn and why, if there are any; they were stored, or in a `folder`."""
    from reverie.device_runtime.frames.intake import HELD_BACK

    if not set_aside:
        return
    table = Table("label", "set aside", "reason", title="Frames set aside", title_justify="left")
    for label, reasons in set_aside.items():
        for reason, count in reasons.items():
            table.add_row(Text(label), str(count), Text(reason))
    console.print(table)
    if any(reason.startswith(HELD_BACK) for reasons in set_aside.values() for reason in reasons):
        shown = "" if folder is None else f"--frames {folder} "
        forgets = ", reverie purge --label LABEL forgets it" if folder is None else ""
        said = f"reverie update {shown}--insist LABEL tries to learn what is held back{forgets}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)

"""`reverie capture`: show the box things and name them; it keeps the frames, and learns them when there are enough."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from reverie.tools.ending import end_as_by_ctrl_c
from reverie.tools.options import (
    Source,
    ask_option,
    home_option,
    json_option,
    quota_option,
    source_options,
    update_after_option,
)

if TYPE_CHECKING:
    from reverie.tools.views.session import Session
    from reverie.tools.views.snapshot import Kept


@click.command("capture")
@home_option
@source_options(required=True)
@click.option("--label", help="What is shown.")
@click.option("--count", type=click.IntRange(1), help="Stop once so many frames are stored.")
@click.option(
    "--every",
    type=click.FloatRange(0),
    help="Seconds from a kept frame to the next.  [default: 0.5; with --fast 0]",
)
@update_after_option
@ask_option
@quota_option
@click.option(
    "--view",
    type=click.Choice(["terminal", "window", "none"]),
    help="[default: terminal where there is one; with --json or --count none]",
)
@json_option
def command(
    home: Path,
    source: Source,
    label: str | None,
    count: int | None,
    every: float | None,
    update_after: int | None,
    ask_below: float,
    max_mb: int,
    view: str | None,
    as_json: bool,
) -> None:
    """Keep frames of a camera, stream, video or folder as frames of a label for `reverie update` to learn.

    What is blank, blurred, or shown already is set aside with the reason. Without a view, a folder is taken as with
    --fast unless --rate is given. In a terminal, ? lists the keys. With --update-after the box learns in the
    background, while the camera is watched on, and takes up the result.
    """
    view = view or ("none" if as_json or count is not None or not sys.stdout.isatty() else "terminal")
    if count is not None and view != "none":
        raise click.UsageError("--count goes with --view none")
    if as_json and view != "none":
        raise click.UsageError("--json goes with --view none")
    if view == "none" and label is None:
        raise click.UsageError("without a view somebody has to say what is shown: give --label")
    source, every = _pace(source, every, watched=view != "none")
    from reverie.tools.views import terminal_view, window_view
    from reverie.tools.views.session import Session

    ended = _Ended(as_json=as_json, quiet=view != "none")
    end_as_by_ctrl_c()
    if view == "window":
        window_view.require_windows()
    with closing(source.open()) as camera:
        session = Session(
            home,
            camera,
            region=source.region,
            label=label if view == "none" else None,
            count=count,
            every=every,
            ask_below=ask_below,
            update_after=update_after,
            quota=max_mb << 20,
            on_kept=ended.note,
        )
        try:
            if label is not None:
                session.name(label)
            if view == "terminal":
                terminal_view.watch(session, label)
            elif view == "window":
                window_view.watch(session, label)
            else:
                _wait(session, max(source.patience, 1.0) + every, ended)
        except KeyboardInterrupt:
            ended.interrupted = True
        finally:
            session.close()
    ended.tell(session, label, count, home)


def _pace(source: Source, every: float | None, *, watched: bool) -> tuple[Source, float]:
    """How fast `source` is played, and the seconds between kept frames where a user has not said."""
    if not watched and Path(source.name).is_dir() and source.wanted.rate is None:
        source = replace(source, fast=True)  # each image counts, and none is skipped on a busy box
    return source, (0.0 if source.fast else 0.5) if every is None else every


class _Ended:
    """What became of the frames that were to be kept, told as it comes and in the end."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json, self.quiet, self.interrupted = as_json, quiet, False
        self.stored: Counter[str] = Counter()
        self.set_aside: Counter[str] = Counter()
        self.unheard: OSError | None = None
        """Why nothing more can be told."""
        self._said: str | None = None

    def note(self, kept: Kept) -> None:
        """One frame was stored or set aside; the same reason is told once in a row."""
        if kept.reason is None:
            self.stored[kept.label] += 1
        else:
            self.set_aside[kept.reason] += 1
        try:
            if self.as_json:
                click.echo(json.dumps({"label": kept.label, "kept": kept.reason is None, "reason": kept.reason}))
            elif not self.quiet and kept.reason not in {None, self._said}:
                click.echo(f"not kept: {kept.reason}")
        except OSError as error:  # in a thread of the session, which does not mind who listens
            self.unheard = error
        self._said = kept.reason

    def tell(self, session: Session, label: str | None, count: int | None, home: Path) -> None:
        """The end; exits 1 where less was done than asked for, 130 if somebody stopped it."""
        from reverie.device_runtime.errors import CameraError, UpdateError

        now = session.snapshot
        added = sum(self.stored.values())
        if self.as_json:
            update = None if now.update is None else {"outcome": now.update.outcome, "says": now.update.says}
            values = {"added": self.stored, "set_aside": self.set_aside, "stored": now.counts, "update": update}
            click.echo(json.dumps(values))
        else:
            aside = ", ".join(f"{n} {reason}" for reason, n in self.set_aside.most_common())
            kept = ", ".join(f"{name} {n}" for name, n in now.counts.items()) or "none"
            click.echo(f"{added} frames kept" + (f"; set aside: {aside}" if aside else ""))
            click.echo(f"stored to learn: {kept}")
        self._tell_update(session, home)
        if self.interrupted:
            sys.exit(130)
        if now.update is not None and now.update.outcome not in {"in service", "stopped"}:
            raise UpdateError(now.update.says)
        trouble = now.camera.says if now.camera.name == "failed" else "" if self.quiet else now.trouble
        if trouble and (count is None or added < count):
            raise CameraError(f"{trouble}; {added} frames were kept")
        if not self.quiet and count is not None and added < count:
            raise CameraError(f"{now.camera.says} after {added} of {count} frames of {label}: show more of it")

    def _tell_update(self, session: Session, home: Path) -> None:
        update = session.snapshot.update
        if update is None or self.as_json:
            return
        if update.outcome == "stopped":
            click.echo(f"the update was interrupted; go on with: reverie update --home {home}", err=True)
        elif update.result is not None:
            from reverie.tools.display import print_report

            print_report(Console(), update.result["report"])
            click.echo(f"{home} now serves generation {update.result['name']}")


def _wait(session: Session, patience: float, ended: _Ended) -> None:
    """Until as many frames are stored as were wanted, or no more will come; then until the update is done.

    Raises FramesError after so many seconds of `patience` without a frame that can be kept; BrokenPipeError, OSError if
    whoever was told of the frames has gone.
    """
    from reverie.device_runtime.errors import FramesError

    useful = time.monotonic()
    stored = -1
    while session.snapshot.holding is not None and not session.over:
        if ended.unheard is not None:
            raise ended.unheard
        now = session.snapshot
        if sum(now.counts.values()) != stored:
            stored, useful = sum(now.counts.values()), time.monotonic()
        waited = time.monotonic() - useful
        if waited > patience and now.camera.name == "live":
            why = now.trouble or (now.last.reason if now.last is not None else None) or "no frame came"
            raise FramesError(f"no frame was fit to be kept for {waited:.0f} s: {why}")
        time.sleep(0.05)
    session.settle()
    shown = ""
    while (update := session.snapshot.update) is not None and update.outcome is None:
        if update.stage != shown and not ended.as_json:
            click.echo(f"update: {update.stage}", err=True)
            shown = update.stage
        time.sleep(0.1)

"""`reverie bench box`: what a box user lives with, measured from outside in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reverie.device_runtime.bundle.preprocess import image_files
from reverie.device_runtime.errors import EngineError
from reverie.tools.own_process import SAFE, own_command


class Finished(NamedTuple):
    """Output, seconds and peak resident bytes of one command."""

    output: str
    seconds: float
    peak_bytes: int


def run_verb(*arguments: str) -> Finished:
    """Run `reverie ARGUMENTS` and measure it. Raises EngineError if it fails."""
    return _run(own_command(*arguments), "reverie")


def run_code(code: str, *arguments: str, name: str) -> Finished:
    """Run Python `code` in a fresh process and measure it. Raises EngineError, which calls it `name`, if it fails."""
    return _run([sys.executable, "-c", SAFE + code, *arguments], name)


def _run(command: list[str], name: str) -> Finished:
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output)  # noqa: S603 (our own code)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        if process.returncode != 0:
            told = " ".join([name, *command[3:]])
            raise EngineError(f"{told} failed with exit code {process.returncode}")
        output.seek(0)
        return Finished(output.read(), seconds, usage.ru_maxrss * 1024)


def measure_box(bundle: Path, frames: Path, images: Path, home_kept: Path | None, console: Console) -> dict[str, Any]:
    """Install `bundle`, predict `images`, update with `frames`, predict again; the home is kept where one is given."""
    with tempfile.TemporaryDirectory() as scratch:
        home = str(home_kept or Path(scratch) / "home")
        installed = run_verb("install", str(bundle), "--home", home)
        one = str(next(image_files(folder)[0] for folder in sorted(images.iterdir()) if folder.is_dir()))
        first = run_verb("predict", one, "--home", home)
        before = _accuracies(run_verb("predict", str(images), "--home", home, "--json").output)
        console.print("updating ...")
        updated = run_verb("update", "--frames", str(frames), "--home", home, "--json")
        console.print("predicting ...")
        predicted = run_verb("predict", str(images), "--home", home, "--json")
        after = _accuracies(predicted.output)
        report = json.loads(updated.output)["report"]
    return {
        "install_seconds": installed.seconds,
        "first_prediction_seconds": first.seconds,
        "first_prediction_peak_bytes": first.peak_bytes,
        "update_seconds": updated.seconds,
        # Each stage starts the process's own mark anew, so that the peak may be in any of them.
        "update_peak_bytes": max([updated.peak_bytes, *(s["peak_bytes"] for s in report["stages"].values())]),
        "predict_peak_bytes": predicted.peak_bytes,
        "predicted_per_second": len(predicted.output.splitlines()) / predicted.seconds,
        "before": before,
        "after": after,
        "agreement": report["agreement"],
        "coverage": report["coverage"],
        "stages": {name: {k: s[k] for k in ("seconds", "peak_bytes")} for name, s in report["stages"].items()},
    }


def _accuracies(lines: str) -> dict[str, float]:
    """Share of right predictions for each true label, the name of an image's folder."""
    right: dict[str, list[bool]] = {}
    for line in lines.splitlines():
        prediction = json.loads(line)
        truth = Path(prediction["file"]).parent.name
        right.setdefault(truth, []).append(prediction["label"] == truth)
    return {label: sum(hits) / len(hits) for label, hits in right.items()}


def print_box(console: Console, result: dict[str, Any]) -> None:
    """Before and after by class, and what it cost."""
    table = Table(title="Test images, share right", title_justify="left")
    for heading in ("label", "before", "after"):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    for label, after in result["after"].items():
        table.add_row(Text(label), f"{result['before'][label]:.1%}", f"{after:.1%}")
    mean = [sum(result[when].values()) / len(result[when]) for when in ("before", "after")]
    table.add_row("all classes", f"{mean[0]:.1%}", f"{mean[1]:.1%}", style="bold")
    console.print(table)
    stages = ", ".join(f"{name} {stage['seconds']:.1f} s" for name, stage in result["stages"].items())
    console.print(f"stages: {stages}", highlight=False)
    console.print(
        f"update {result['update_seconds']:.0f} s, peak memory {result['update_peak_bytes'] / 1e6:.0f} MB; "
        f"first prediction after a cold start {result['first_prediction_seconds']:.2f} s, then "
        f"{result['predicted_per_second']:.0f} images a second with the start, peak memory "
        f"{result['predict_peak_bytes'] / 1e6:.0f} MB"
    )

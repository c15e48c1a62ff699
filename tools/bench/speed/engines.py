"""Steps on the installed engine beside another one, each in a process of its own that waits for its turn."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from reverie.device_runtime.errors import EngineError
from reverie.tools.bench.accuracy_start import apart

TURN = 5
"""Steps in a row, once a process has its turn."""


class EngineTimes(NamedTuple):
    """Median milliseconds of CPU of one step, and the median ratio of turns that followed one another."""

    size: str
    step: str
    batch: int
    ours: float
    other: float
    ratio: float


class Beside(NamedTuple):
    """What was measured beside the engine of that name."""

    engine: str
    times: list[EngineTimes]


def measure_beside(sizes: Sequence[str], other: Path, repeats: int) -> Beside:
    """Every step of `sizes` on this process's cores. `other` is a folder that holds another onnxruntime.

    Raises EngineError.
    """
    rows, name = [], ""
    with tempfile.TemporaryDirectory() as scratch:
        for at, size in enumerate(sizes):
            home = Path(scratch) / str(at)
            batches = apart(_write, size, home)
            with _process(home) as ours, _process(home, other) as theirs:
                name = _say(theirs, "engine")
                for step, batch in batches.items():
                    turns = [(float(_say(ours, step)), float(_say(theirs, step))) for _ in range(repeats + 1)][1:]
                    mine, others = zip(*turns, strict=True)
                    ratio = statistics.median(one / two for one, two in turns)
                    times = (1e3 * statistics.median(mine), 1e3 * statistics.median(others))
                    rows.append(EngineTimes(size, step, batch, *times, ratio))
    return Beside(name, rows)


def _write(size: str, folder: Path) -> dict[str, int]:
    """Make `folder`/home a box of the networks of `size`; returns steps and how many rows each takes."""
    from reverie.tools.bench.speed.sizes import built
    from reverie.tools.bench.speed.steps import STEPS, exported

    folder.mkdir()
    exported(built(size), folder)
    return {step: batch for step, (batch, _) in STEPS.items()}


@contextmanager
def _process(folder: Path, packages: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that takes the steps of a box when it is told to, with `packages` before those that are installed."""
    environment = dict(os.environ)
    if packages is not None:
        before = filter(None, (str(packages.resolve()), environment.get("PYTHONPATH")))  # an empty one is this folder
        environment["PYTHONPATH"] = os.pathsep.join(before)
    command = [sys.executable, "-m", __name__, str(folder / "home")]
    with subprocess.Popen(  # noqa: S603 (our own module)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _say(process: subprocess.Popen[str], word: str) -> str:
    """What the process answers. Raises EngineError."""
    assert process.stdin is not None  # noqa: S101 (what pipes were asked for)
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    answer = process.stdout.readline().rstrip("\n")
    if not answer:
        raise EngineError(f"an engine ended while it was measured in {word}: see the lines above")
    return answer


def main() -> None:
    """Take the steps of the home named on the command line, as stdin asks for them; say the seconds of one."""
    from reverie.device_runtime.engine.installed import installed_engine
    from reverie.device_runtime.home import store
    from reverie.tools.bench.speed.steps import STEPS

    home = Path(sys.argv[1])
    models = store.load_models(home, store.read_generation(home))
    made = {}
    for line in sys.stdin:
        word = line.strip()
        if word == "engine":
            print(installed_engine(), flush=True)  # noqa: T201 (to the process that asks)
            continue
        if word not in made:
            batch, make = STEPS[word]
            made[word] = make(models, batch)
        started = time.process_time()
        for _ in range(TURN):
            made[word]()
        print((time.process_time() - started) / TURN, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

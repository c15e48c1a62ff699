"""Whether a generation loads and answers in a process of its own, from its files alone, as it will when it serves."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from reverie.device_runtime.errors import EngineError, ReverieError
from reverie.device_runtime.home import store
from reverie.device_runtime.home.store import Generation
from reverie.device_runtime.method.models import Models, one_hot
from reverie.device_runtime.method.replay import generate

SECONDS = 120.0
"""Time to start, load and answer."""
INPUTS = 8
TOLERANCE = 1e-4
"""Largest difference of an answer, relative to the largest value: the same weights, perhaps on fewer cores."""


def wrong_answers(home: Path, generation: Generation, models: Models, seconds: float = SECONDS) -> str:
    """What is wrong with `generation`, which was written from `models`, or "". Raises EngineError if none can start."""
    asked = _questions(models)
    try:
        done = subprocess.run(  # noqa: S603 (our own module)
            [sys.executable, "-m", __name__, str(home.resolve()), generation.name],
            input=_pack(asked),
            capture_output=True,
            check=False,
            timeout=seconds,
            cwd="/",  # nothing that lies about may be imported
        )
    except subprocess.TimeoutExpired:
        return f"it does not load and answer within {seconds:.0f} s in a process of its own"
    except OSError as error:
        raise EngineError(f"cannot start a process to try the new generation in ({error}): try again") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        return f"it does not load in a process of its own: {said[-1]}"
    try:
        answers = _unpack(done.stdout)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return "it does not answer in a process of its own"
    for name, expected in answer(models, asked).items():
        if not np.isfinite(answers[name]).all():
            return f"its {name} are no numbers"
        if np.abs(answers[name] - expected).max() > TOLERANCE * max(1.0, float(np.abs(expected).max())):
            return f"its {name} in a process of its own are not those in memory"
    return ""


def answer(models: Models, asked: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What solver and generator make of a few inputs."""
    return models.solver_graph.run(asked) | {
        "generated": generate(models, asked["noise"], asked["code"].argmax(axis=1))
    }


def _questions(models: Models) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape, noise = models.manifest.input_shape, models.manifest.noise_size
    codes = np.arange(INPUTS) % len(models.classes)
    return {
        "input": rng.standard_normal((INPUTS, *shape), dtype=np.float32),
        "noise": rng.standard_normal((INPUTS, noise), dtype=np.float32),
        "code": one_hot(codes, models.manifest.slots),
    }


def _pack(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _unpack(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def main() -> None:
    """Load the generation named on the command line, and answer on stdout what stdin asks."""
    home, name = Path(sys.argv[1]), sys.argv[2]
    try:
        models = store.load_models(home, store.read_generation(home, name))
        answers = answer(models, _unpack(sys.stdin.buffer.read()))
    except ReverieError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(_pack(answers))


if __name__ == "__main__":
    main()

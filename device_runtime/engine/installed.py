"""Which onnxruntime is installed: the ordinary one or the build for training. It is found without being loaded."""

from __future__ import annotations

import functools
import importlib.util
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reverie.device_runtime.bundle.onnx_operators import OPERATORS, PORTABLE
from reverie.device_runtime.errors import EngineError

ORDINARY, TRAINING = "onnxruntime", "onnxruntime-training-cpu"
OLDEST = {ORDINARY: "1.20.1", TRAINING: "1.19.2"}
"""By distribution, the oldest version whose results were compared with torch's."""

_VERSION = re.compile(r"""^__version__ = ["']([\d.]+)""", re.MULTILINE)


@dataclass(frozen=True)
class Engine:
    """A distribution of onnxruntime, and the folder of its package."""

    name: str
    version: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def operators(self) -> Mapping[str, frozenset[str]]:
        """Operator set → operators that it runs, of those that may run."""
        return OPERATORS if self.name == TRAINING else PORTABLE


@functools.cache
def installed_engine() -> Engine:
    """The engine that this process uses. Raises EngineError where there is none, or not one."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise EngineError(
            f"no engine is installed for Python {platform.python_version()} on {platform.machine()}: "
            'pip install ".[box]" in a copy of the repository, or pip install onnxruntime'
        )
    init = Path(spec.origin)
    _require_one(init.parent.parent)
    name = TRAINING if (init.parent / "training").is_dir() else ORDINARY
    found = _VERSION.search(init.read_text(encoding="utf-8"))
    version = found[1] if found else "0"
    if _numbers(version) < _numbers(OLDEST[name]):
        raise EngineError(
            f"{name} {version} is older than {OLDEST[name]}, the oldest that was tested: pip install --upgrade {name}"
        )
    return Engine(name, version, init.parent)


def require_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Raise EngineError on an x86-64 processor of before 2009, where numpy ends the process without a word."""
    if platform.machine().lower() not in {"x86_64", "amd64"} or not cpuinfo.is_file():
        return
    with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
        flags = next((line.split() for line in lines if line.startswith("flags")), None)
    if flags is not None and "sse4_2" not in flags:
        raise EngineError(
            "this processor lacks SSE4.2, which numpy, OpenCV and the engine need, and which any x86-64 processor "
            "since 2009 has: use another machine"
        )


def _require_one(packages: Path) -> None:
    """Raise EngineError where two distributions have written their files over one another's."""
    names = sorted(
        path.name.split("-")[0].replace("_", "-")
        for path in packages.glob("onnxruntime*.dist-info")
        if (path / "RECORD").is_file() and "onnxruntime/__init__.py," in (path / "RECORD").read_text(encoding="utf-8")
    )
    if len(names) > 1:
        both = " ".join(names)
        raise EngineError(
            f"{' and '.join(names)} are both installed, and have overwritten one another: "
            f'pip uninstall --yes {both}, then pip install "{names[0]}" or "{names[-1]}", not both'
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part)

"""Bytes of what is installed: the distributions that a box needs, beside those that the same work in torch needs."""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from reverie.device_runtime.engine.installed import TRAINING, installed_engine
from reverie.device_runtime.errors import EngineError

OURS = ("device_runtime", "export", "tools")
IMAGES = ("numpy", "opencv-python-headless")
"""What reads and resizes images, whatever trains."""


def installed_bytes() -> dict[str, tuple[int, int]]:
    """What → bytes of ours and of torch's: of the whole environment, and of the engine in it.

    The engine for training is installed alone, the ordinary one and torch with all that they declare. Raises
    EngineError.
    """
    here = installed_engine().name
    ours = with_requirements("reverie", own=False)
    ours |= _alone(here) if here == TRAINING else with_requirements(here)
    engine = with_requirements("torch")
    theirs = dict(engine)
    for name in IMAGES:
        theirs |= with_requirements(name)
    return {
        "environment": (sum(ours.values()) + _own_bytes(), sum(theirs.values())),
        "engine in it": (ours[here], sum(engine.values())),
    }


def folder_bytes(folder: Path) -> int:
    """Of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def with_requirements(name: str, own: bool = True) -> dict[str, int]:
    """Distribution → bytes, of `name` and all that it declares, without extras, as far as it is installed."""
    from packaging.requirements import Requirement

    found: dict[str, int] = {}
    left = [name]
    while left:
        known = _installed(left.pop())
        if known is None or _normal(known.name) in found:
            continue
        found[_normal(known.name)] = _bytes(known)
        requirements = [Requirement(text) for text in known.requires or ()]
        left += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    if not found:
        raise EngineError(f"{name} is not installed, so its size cannot be measured: pip install it")
    if not own:
        del found[_normal(name)]
    return found


def _alone(name: str) -> dict[str, int]:
    known = _installed(name)
    if known is None:
        raise EngineError(f"{name} is not installed, so its size cannot be measured: pip install it")
    return {name: _bytes(known)}


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _bytes(known: Distribution) -> int:
    """Of its files, compiled ones included, as far as they are there."""
    paths = [Path(str(file.locate())) for file in known.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _own_bytes() -> int:
    """Of our packages, wherever they are: an editable installation has no files of its own."""
    specs = [importlib.util.find_spec(f"reverie.{name}") for name in OURS]
    folders = [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]
    return sum(folder_bytes(folder) for folder in folders)

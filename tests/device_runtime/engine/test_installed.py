"""Which engine is installed: one, old enough to be known and new enough to be tested, or words that say what to do."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys

import pytest
from served import AS_STARTED

from reverie.device_runtime.bundle.onnx_operators import OPERATORS, PORTABLE
from reverie.device_runtime.engine.installed import (
    OLDEST,
    ORDINARY,
    TRAINING,
    Engine,
    installed_engine,
    require_processor,
)
from reverie.device_runtime.engine.runtime import ort
from reverie.device_runtime.errors import EngineError

WITHOUT = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name == "onnxruntime" else found(name, *more)
"""


@pytest.fixture
def packages(tmp_path):
    """A folder of packages that come before the installed ones."""
    (tmp_path / "packages").mkdir()
    return tmp_path / "packages"


def engine(packages, init, *distributions):
    """Write an engine that was installed from `distributions`."""
    (packages / "onnxruntime").mkdir()
    (packages / "onnxruntime/__init__.py").write_text(init, encoding="utf-8")
    for name in distributions:
        folder = packages / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "RECORD").write_text("onnxruntime/__init__.py,,\n", encoding="utf-8")


def refused(packages, tmp_path, *arguments):
    """The one line of a command that runs with `packages`; nothing is left of it."""
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-B", "-c", AS_STARTED, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(packages)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    return done.stderr


def test_without_an_engine_it_is_said_which_python_wants_one(packages, tmp_path, bundle):
    (packages / "sitecustomize.py").write_text(WITHOUT, encoding="utf-8")
    said = refused(packages, tmp_path, "install", bundle, "--home", "home")
    version = re.escape(sys.version.split()[0])
    assert re.search(rf'no engine is installed for Python {version} on \w+: pip install "\.\[box\]"', said)


@pytest.mark.parametrize("verb", ["install", "update"])
def test_two_engines_in_one_environment_are_told_apart_from_one(packages, tmp_path, bundle, installed, verb):
    engine(packages, '__version__ = "1.32.0"\n', ORDINARY, TRAINING)
    asked = {"install": (bundle, "--home", "home"), "update": ("--home", installed)}[verb]
    said = refused(packages, tmp_path, verb, *asked)
    assert "onnxruntime and onnxruntime-training-cpu are both installed, and have overwritten one another" in said
    assert "pip uninstall --yes onnxruntime onnxruntime-training-cpu" in said


def test_an_engine_older_than_any_that_was_tested_is_refused(packages, tmp_path, bundle):
    engine(packages, '__version__ = "1.16.3"\n', ORDINARY)
    said = refused(packages, tmp_path, "install", bundle, "--home", "home")
    assert f"onnxruntime 1.16.3 is older than {OLDEST[ORDINARY]}" in said


def test_an_engine_that_does_not_load_says_why(packages, tmp_path, installed, test_folder):
    engine(packages, '__version__ = "99.0"\nraise ImportError("libgomp.so.1: cannot open")\n', ORDINARY)
    said = refused(packages, tmp_path, "predict", test_folder, "--home", installed)
    assert "onnxruntime 99.0 cannot be loaded (libgomp.so.1: cannot open): pip install --force-reinstall" in said


def test_the_engine_that_runs_is_the_one_that_is_named(reverie, home):
    here = installed_engine()
    assert here.version == ort.__version__
    assert json.loads(reverie("status", "--home", home, "--json").out)["engine"] == str(here)
    assert f"engine:      {here}" in reverie("status", "--home", home).out


def test_a_processor_of_before_2009_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    known = tmp_path / "cpuinfo"
    known.write_text("processor\t: 0\nflags\t\t: fpu mmx sse sse2 ssse3 cx16 sse4_1 lahf_lm\n", encoding="utf-8")
    with pytest.raises(EngineError, match="this processor lacks SSE4"):
        require_processor(known)
    known.write_text("processor\t: 0\nflags\t\t: fpu sse2 ssse3 sse4_1 sse4_2 popcnt\n", encoding="utf-8")  # and no AVX
    require_processor(known)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    known.write_text("Features\t: fp asimd\n", encoding="utf-8")
    require_processor(known)


def test_only_the_engine_for_training_runs_its_own_operators(tmp_path):
    ordinary, training = (Engine(name, "9", tmp_path).operators for name in (ORDINARY, TRAINING))
    assert (ordinary, training) == (PORTABLE, OPERATORS)
    assert "ConvGrad" in training["com.microsoft"] - ordinary["com.microsoft"]
    assert "MaxPoolGrad" in training[""] - ordinary[""]

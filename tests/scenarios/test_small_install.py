"""The small installation of the guide: in a fresh environment, without what only a workstation needs, a box learns."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from served import AS_STARTED
from short import enough, words

HEADING = "Install the box half without what only a workstation needs:\n\n```\n"
NOT_ON_A_BOX = {"torch", "onnx", "onnxscript", "sympy", "h5py", "cerberus", "protobuf", "flatbuffers", "setuptools"}
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "device_runtime", "export", "tools")


def run(*command, folder):
    """Output of a command that must succeed, in an environment that knows nothing of the one that tests run in."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def box(repository, tmp_path_factory):
    """The folder of executables of a box that was installed as the guide says, from a checkout."""
    guide = (repository / "docs/guide/box.md").read_text(encoding="utf-8")
    (commands,) = re.findall(re.escape(HEADING) + "(.*?)```", guide, re.DOTALL)
    checkout = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (repository / name).is_dir():
            shutil.copytree(repository / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(repository / name, checkout)
    try:
        run("bash", "-e", "-c", commands, folder=checkout)
    except AssertionError as error:
        if os.environ.get("CI") or not re.search("NewConnectionError|NameResolutionError", str(error)):
            raise
        pytest.skip("needs the network, to install from PyPI")
    made = checkout / ".venv-box" / "bin"
    # Python before 3.12 puts setuptools into every environment.
    run(made / "python", "-m", "pip", "uninstall", "--yes", "--quiet", "setuptools", folder=checkout)
    return made


def test_nothing_of_the_workstation_is_installed(box, tmp_path):
    code = "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"
    names = set(json.loads(run(box / "python", "-c", code, folder=tmp_path)))
    assert {"reverie", "onnxruntime-training-cpu", "numpy", "opencv-python-headless"} <= names
    assert names.isdisjoint(NOT_ON_A_BOX)


def test_it_is_the_wheel_that_runs(box, tmp_path):
    where = run(box / "python", "-c", "import reverie.tools.cli as c; print(c.__file__)", folder=tmp_path)
    assert "site-packages" in where


def test_a_box_learns_two_classes_and_predicts_one(box, bundle, frames_folder, test_folder, tmp_path):
    home = tmp_path / "home"
    run(box / "reverie", "install", bundle, "--home", home, folder=tmp_path)
    reverie = (box / "python", "-c", f"{words(enough)}{AS_STARTED}")
    learnt = run(*reverie, "update", "--frames", frames_folder, "--home", home, "--json", folder=tmp_path)
    assert json.loads(learnt)["name"] == "0001"
    new = sorted(folder.name for folder in frames_folder.iterdir())
    tested = [test_folder / label for label in new]
    lines = run(box / "reverie", "predict", *tested, "--home", home, "--json", folder=tmp_path).splitlines()
    said = [(Path(line["file"]).parent.name, line["label"]) for line in map(json.loads, lines)]
    assert sum(truth == label for truth, label in said) > len(said) / 2


def test_the_engine_is_named_with_one_version_everywhere(repository):
    files = ("pyproject.toml", "Makefile", "docs/guide/box.md", "device_runtime/engine/runtime.py")
    named = {
        version
        for file in files
        for version in re.findall(r"onnxruntime-training-cpu==([\d.]*\d)", (repository / file).read_text("utf-8"))
    }
    assert len(named) == 1

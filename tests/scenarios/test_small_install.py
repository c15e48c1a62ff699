"""Installed on a box, as the guide says and from the wheel, on each Python at hand: it learns and predicts."""

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

from reverie.device_runtime.engine.installed import OLDEST, ORDINARY, TRAINING

pytest.importorskip("build")

COMMANDS = "install what a box needs, in an environment of its own:\n\n```\n(.*?)```"
NOT_ON_A_BOX = {"torch", "onnx", "onnxscript", "sympy", "h5py", "cerberus", "setuptools"}
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "device_runtime", "export", "tools")
PYTHONS = [f"python3.{minor}" for minor in range(10, 15)]


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


def fetched(*command, folder):
    """Output of a command that needs the network, without which its tests are skipped."""
    try:
        return run(*command, folder=folder)
    except AssertionError as error:
        if os.environ.get("CI") or not re.search("NewConnectionError|NameResolutionError", str(error)):
            raise
        pytest.skip("needs the network, to install from PyPI")


@pytest.fixture(scope="module")
def checkout(repository, tmp_path_factory):
    """A copy of what is needed to install."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (repository / name).is_dir():
            shutil.copytree(repository / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(repository / name, folder)
    return folder


@pytest.fixture(scope="module")
def box(repository, checkout):
    """The folder of executables of a box that was installed as the guide says, from a checkout."""
    guide = (repository / "docs/guide/box.md").read_text(encoding="utf-8")
    (commands,) = re.findall(COMMANDS, guide, re.DOTALL)
    fetched("bash", "-e", "-c", commands, folder=checkout)
    made = checkout / ".venv-box" / "bin"
    # Python before 3.12 puts setuptools into every environment.
    run(made / "python", "-m", "pip", "uninstall", "--yes", "--quiet", "setuptools", folder=checkout)
    return made


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    """The wheel, made from the source distribution as `make wheel` makes both."""
    folder = tmp_path_factory.mktemp("dist")
    fetched(sys.executable, "-m", "build", "--outdir", folder, checkout, folder=folder)
    assert len(list(folder.glob("reverie-*.tar.gz"))) == 1
    (made,) = folder.glob("reverie-*.whl")
    return made


def test_nothing_of_the_workstation_is_installed(box, tmp_path):
    code = "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"
    names = set(json.loads(run(box / "python", "-c", code, folder=tmp_path)))
    assert {"reverie", "onnxruntime", "numpy", "opencv-python-headless"} <= names
    assert names.isdisjoint(NOT_ON_A_BOX)


def test_it_is_what_was_installed_that_runs(box, tmp_path):
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


@pytest.mark.parametrize("python", PYTHONS)
def test_the_wheel_installs_and_runs_the_demo(python, wheel, repository, tmp_path):
    if subprocess.run(["bash", "-c", f"{python} -c ''"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} is not at hand")
    demo = repository / "models/grocery-demo"
    run(python, "-m", "venv", tmp_path / "box", folder=tmp_path)
    made = tmp_path / "box/bin"
    fetched(made / "pip", "install", "--quiet", f"{wheel}[box]", folder=tmp_path)
    asked = ("bench", "box", demo / "bundle", "--frames", demo / "frames", "--images", demo / "test", "--json")
    found = json.loads(run(made / "reverie", *asked, folder=tmp_path))
    assert found["before"]["avocado"] == found["before"]["watermelon"] == 0
    assert sum(found["after"].values()) > 0.9 * len(found["after"])


def test_the_oldest_engine_is_the_one_that_is_tested(repository):
    for file in ("Makefile", "pyproject.toml"):
        named = re.findall(rf"\b{ORDINARY}[>=]=([\d.]*\d)", (repository / file).read_text("utf-8"))
        assert set(named) == {OLDEST[ORDINARY]}, file


def test_the_engine_for_training_is_named_with_one_version_everywhere(repository):
    for file in ("Makefile", "docs/guide/box.md", "docs/guide/workstation.md"):
        named = re.findall(rf"{TRAINING}==([\d.]*\d)", (repository / file).read_text("utf-8"))
        assert set(named) == {OLDEST[TRAINING]}, file

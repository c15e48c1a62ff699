"""What is packaged is what is there, and imports point one way."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reverie.tools.cli import VERBS, reverie

ROOT = Path(__file__).parents[2]
PACKAGES = ("device_runtime", "export", "tools")
SOURCES = sorted(p for name in (*PACKAGES, "tests") for p in (ROOT / name).rglob("*.py"))
tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # pytest brings tomli


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def imports(path):
    """Absolute names of all that a file imports, by statement or by importlib."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"import_module", "find_spec"}:
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def inside(path, package):
    return path.is_relative_to(ROOT / package)


def test_the_packages_listed_are_those_in_the_tree(project):
    """A package that is not listed works from a checkout and is missing from the wheel."""
    listed = project["tool"]["setuptools"]
    folders = {p.parent.relative_to(ROOT) for p in SOURCES if not inside(p, "tests")}
    assert sorted(listed["packages"]) == sorted(f"reverie.{'.'.join(f.parts)}" for f in folders)
    assert listed["package-dir"] == {f"reverie.{name}": name for name in PACKAGES}
    assert all((ROOT / name / "py.typed").is_file() for name in PACKAGES)
    assert not (ROOT / "__init__.py").exists()


def test_the_command_named_in_the_project_is_there(project):
    module, _, attribute = project["project"]["scripts"]["reverie"].partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_a_box_needs_nothing_of_the_workstation(project):
    needed = " ".join(project["project"]["dependencies"])
    assert all(name not in needed for name in ("torch", "onnx", "sympy", "h5py"))


def test_the_device_runtime_imports_nothing_but_four_libraries_its_engine_and_the_standard_library():
    allowed = {*sys.stdlib_module_names, "numpy", "cv2", "filelock", "cryptography", "onnxruntime"}
    for path in (p for p in SOURCES if inside(p, "device_runtime")):
        for name in imports(path):
            assert name.partition(".")[0] in allowed or name.startswith("reverie.device_runtime"), (path.name, name)


def test_the_device_runtime_unpickles_nothing():
    """A pickle runs what it says: numpy must not read one either, nor is anything evaluated."""
    for path in (p for p in SOURCES if inside(p, "device_runtime")):
        found = {name.partition(".")[0] for name in imports(path)}
        assert not found & {"pickle", "marshal", "shelve", "dill", "joblib", "yaml", "runpy", "code"}, path.name
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![.\w])(eval|exec|compile)\(", text), path.name
        assert text.count("np.load(") == text.count("allow_pickle=False") == text.count("pickle"), path.name


def test_one_file_alone_knows_the_engine():
    """Two engines fit behind it. The export builds the engine's artifacts and may know it too."""
    knowing = {p.relative_to(ROOT).as_posix() for p in SOURCES if any("onnxruntime" in name for name in imports(p))}
    assert {name for name in knowing if not name.startswith(("export/", "tests/"))} == {
        "device_runtime/engine/installed.py",  # which finds it and does not load it
        "device_runtime/engine/runtime.py",
    }


@pytest.mark.parametrize(("package", "may_import"), [("device_runtime", ()), ("export", ("device_runtime",))])
def test_imports_between_the_packages_point_one_way(package, may_import):
    for path in (p for p in SOURCES if inside(p, package)):
        for name in imports(path):
            if name.startswith("reverie"):
                assert name.split(".")[1] in {package, *may_import}, (path.name, name)


def test_the_verbs_import_the_workstation_half_only_when_they_run():
    """So do they import the files of the bench that are written in torch and onnx."""
    of_speed = ("predict", "product", "rules", "sizes", "solvers", "steps", "torch_engine")
    in_torch = ("generators", "mlp", "regularised", *(f"speed.{name}" for name in of_speed))
    late = ("reverie.export", "torch", *(f"reverie.tools.bench.{name}" for name in in_torch))
    written_in_torch = {ROOT / "tools/bench" / f"{name.replace('.', '/')}.py" for name in in_torch}
    for path in (p for p in SOURCES if inside(p, "tools") and p not in written_in_torch):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert not [node.module for node in top if (node.module or "").startswith(late)], path


@pytest.mark.parametrize(
    "path", [*SOURCES, *(ROOT / "tools/page").glob("*.*s")], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_no_source_file_is_too_long_to_read(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines < (250 if inside(path, "tests") else 301)


def commands(group: click.Group, at: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command below `group` with its name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        yield f"{at}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{at}{name} ")


def test_every_verb_has_its_file_and_its_help():
    found = dict(commands(reverie))
    assert set(VERBS) <= set(found)
    assert all((ROOT / "tools/commands" / f"{verb}.py").is_file() for verb in VERBS)
    for name, command in found.items():
        assert len((command.help or "").split()) > 3, name


def test_test_files_have_names_of_their_own():
    """There is no package of tests, so two files of one name would shadow each other."""
    names = [p.name for p in SOURCES if inside(p, "tests") and p.name != "conftest.py"]
    assert len(names) == len(set(names))

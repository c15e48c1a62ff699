"""The map in docs/architecture.md is the one that import-linter holds the code to, and documents name what there is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from guide import blocks, guides

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 has no tomllib")

PACKAGES = ("device_runtime", "export", "tools")
DRAWN = re.compile(r"^│.*│$", re.MULTILINE)
ROOM = re.compile(r"^\| `([a-z_]+)(/|\.py)` \| (.*) \|$", re.MULTILINE)
NAMED = re.compile(r"`([^`\s]+)`|\]\(([^)\s#]+)[^)]*\)")
ROOTS = (
    *PACKAGES,
    "docs",
    "tests",
    "models",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Makefile",
    "pyproject.toml",
)


@pytest.fixture(scope="module")
def layers(repository):
    """Package → what the contract has in each of its layers, from the top down."""
    settings = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    contracts = [contract for contract in settings["contracts"] if contract["type"] == "layers"]
    assert all(contract["exhaustive"] for contract in contracts)
    return {
        contract["containers"][0].removeprefix("reverie."): [re.findall(r"\w+", layer) for layer in contract["layers"]]
        for contract in contracts
    }


@pytest.fixture(scope="module")
def document(repository):
    return repository / "docs/architecture.md"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_is_drawn_where_the_import_contract_has_it(document, layers, package):
    drawn = [[re.findall(r"\w+", line) for line in DRAWN.findall(drawing)] for drawing in blocks(document, "text")]
    assert dict(zip(PACKAGES, drawn, strict=True))[package] == layers[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_purpose_of_a_room_is_told_as_the_room_tells_it(repository, document, layers, package):
    rooms = [name for layer in layers[package] for name in layer]
    heading = document.read_text("utf-8").split("\n## ")[1 + PACKAGES.index(package)]
    told = {name: (end, purpose) for name, end, purpose in ROOM.findall(heading)}
    assert list(told) == rooms
    for name, (end, purpose) in told.items():
        file = repository / package / name / "__init__.py" if end == "/" else repository / package / f"{name}.py"
        assert ast.get_docstring(ast.parse(file.read_text("utf-8"))).splitlines()[0] == purpose


def documents(repository):
    others = [path for path in (repository / "docs").rglob("*.md") if path.relative_to(repository).parts[1] != "runs"]
    return [repository / "README.md", repository / "CONTRIBUTING.md", *others]


def paths_in(document, repository):
    """Files and folders that a document names by their paths, in words or as links, and where each should be."""
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for word, link in NAMED.findall(text):
        if link and not link.startswith("http"):
            yield link, document.parent / link
        elif word.split("/")[0] in ROOTS and not set(word) & set("*<>$:"):
            yield word, repository / word


def test_every_path_that_a_document_names_is_there(repository):
    missing = [
        f"{document.relative_to(repository)}: {said}"
        for document in documents(repository)
        for said, path in paths_in(document, repository)
        if not path.exists()
    ]
    assert missing == []


def test_every_section_that_a_link_names_is_there(repository):
    missing = []
    for document in documents(repository):
        for link, section in re.findall(r"\]\(([^)\s#]*)#([^)\s]+)\)", document.read_text("utf-8")):
            other = document.parent / link if link else document
            headings = re.findall(r"^#+ (.*)$", other.read_text("utf-8"), re.MULTILINE)
            if section not in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}:
                missing.append(f"{document.relative_to(repository)}: {link}#{section}")
    assert missing == []


def test_every_document_is_reached_from_the_readme(repository):
    reached, ahead = set(), [repository / "README.md"]
    while ahead:
        document = ahead.pop().resolve()
        if document not in reached:
            reached.add(document)
            found = (path for said, path in paths_in(document, repository) if said.endswith(".md"))
            ahead += [path for path in found if path.exists()]
    assert {path.resolve() for path in documents(repository)} <= reached
    assert {path.resolve() for path in guides(repository)} <= reached


def test_python_names_no_document_that_is_not_there(repository):
    """Comments and messages send readers to documents."""
    listed = ["git", "ls-files", *PACKAGES, "pyproject.toml", "Makefile"]
    files = subprocess.run(listed, cwd=repository, capture_output=True, text=True, check=True).stdout.split()
    text = {
        file: (repository / file).read_text("utf-8") for file in files if file.endswith((".py", ".toml", "Makefile"))
    }
    named = {said for content in text.values() for said in re.findall(r"\bdocs/[\w/-]+\.md\b", content)}
    assert [said for said in sorted(named) if not (repository / said).exists()] == []

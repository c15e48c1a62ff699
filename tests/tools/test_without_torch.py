"""On the device nothing of the workstation is imported, in an environment that has it and in one that has not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

WORKSTATION = ("torch", "onnx", "onnxscript", "sympy", "h5py", "safetensors", "cerberus")

EVERY_MODULE = """
import importlib, pkgutil, reverie.device_runtime as package
names = [module.name for module in pkgutil.walk_packages(package.__path__, "reverie.device_runtime.")]
assert "reverie.device_runtime.method.update" in names
for name in names:
    importlib.import_module(name)
"""

RUN = """
from reverie.tools.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""

BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"{name} is not on the device", name=name)
sys.meta_path.insert(0, Blocker())
"""

COUNT = "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"


def imported(code, *arguments):
    """Top-level modules that a fresh interpreter holds after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", code + COUNT, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(params=["nothing", "every module", "--help", "status", "predict", "inspect", "update --help"])
def device_code(request, installed, bundle, test_folder):
    """Code that a box runs, with its arguments."""
    one = min((test_folder / "bag").iterdir())
    return {
        "nothing": ("import reverie.tools.cli\n",),
        "every module": (EVERY_MODULE,),
        "--help": (RUN, "--help"),
        "status": (RUN, "status", "--home", installed),
        "predict": (RUN, "predict", one, "--home", installed),
        "inspect": (RUN, "inspect", bundle),
        "update --help": (RUN, "update", "--help"),
    }[request.param]


def test_nothing_of_the_workstation_is_imported(device_code):
    modules = imported(*device_code)
    assert "reverie" in modules
    assert modules.isdisjoint(WORKSTATION)


def test_everything_works_where_the_workstations_packages_cannot_be_imported(device_code):
    code, *arguments = device_code
    assert "reverie" in imported(BLOCK % (WORKSTATION,) + code, *arguments)


PROMOTE = """
from reverie.device_runtime.changes import transaction
from reverie.device_runtime.promotion.decision import Decision
transaction.decide = lambda *_: Decision((), ())  # it has no time to learn
"""


def test_a_whole_update_works_where_the_workstations_packages_cannot_be_imported(home, frames_folder):
    arguments = ("update", "--frames", frames_folder, "--home", home, "--max-minutes", "0.00001")
    modules = imported(BLOCK % (WORKSTATION,) + PROMOTE + RUN, *arguments)
    assert "onnxruntime" in modules
    assert modules.isdisjoint(WORKSTATION)
    assert (home / "current").read_text(encoding="utf-8") == "0001"


def test_the_blocker_would_notice():
    """The control: the way in which the tests above would fail."""
    with pytest.raises(AssertionError, match="torch is not on the device"):
        imported(BLOCK % (WORKSTATION,) + "import torch\n")
    assert "json" in imported("import json\n")


def test_help_is_shown_without_loading_the_engine():
    modules = imported(RUN, "--help")
    assert modules.isdisjoint({"onnxruntime", "cv2"})

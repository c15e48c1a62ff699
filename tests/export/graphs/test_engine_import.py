"""Where torch is installed too, the half that runs on a box does not load it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from workstation_support import TINY

PROBE = """
import importlib, sys
importlib.import_module(sys.argv[1])
heavy = {"torch", "onnx", "onnxscript", "safetensors", "sympy", "h5py", "reverie.export"} & set(sys.modules)
sys.exit(f"{sys.argv[1]} loads {heavy}" if heavy else 0)
"""


@pytest.mark.parametrize(
    "module",
    [
        "reverie.device_runtime.engine.runtime",
        "reverie.device_runtime.method.update",
        "reverie.tools.commands.update",
        "reverie.tools.commands.export",
        "reverie.tools.commands.pretrain",
    ],
)
def test_importing_what_a_box_uses_does_not_load_torch(module):
    finished = subprocess.run([sys.executable, "-c", PROBE, module], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_the_probe_of_the_tests_above_sees_what_the_exporter_loads():
    finished = subprocess.run(
        [sys.executable, "-c", PROBE, "reverie.export.pretraining.networks"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "torch" in finished.stderr


def test_the_engine_runs_a_graph_without_loading_torch(exported):
    program = (
        "import sys, numpy as np; from pathlib import Path;"
        "from reverie.device_runtime.engine.graph import Graph;"
        "graph = Graph(Path(sys.argv[1]).read_bytes());"
        "out = graph.run({'input': np.zeros((1, 1, 8, 8), np.float32)});"
        "assert abs(out['probabilities'].sum() - 1) < 1e-5;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, exported(TINY).folder / "solver.onnx"], check=True)

"""`reverie bench speed --part growth`: the same steps in both engines, updates that end, and a picture of both."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest
from rich.console import Console

from reverie.tools.bench.speed import growth
from reverie.tools.bench.speed.growth import device_step, measure_growth
from reverie.tools.bench.speed.place import Place
from reverie.tools.bench.speed.plots import save_growth
from reverie.tools.bench.speed.solvers import write_step
from reverie.tools.bench.speed.torch_step import torch_step


@pytest.mark.parametrize(
    "place",
    [Place("classes", classes=30, batch=40), Place("side", side=56, batch=8), Place("width", width=8, batch=40)],
)
def test_a_grown_solver_trains_alike_in_both_engines(place, tmp_path):
    write_step(place, tmp_path / "step")
    ours, theirs = device_step(place, tmp_path / "step"), torch_step(place)
    losses = [(ours(), theirs()) for _ in range(3)]
    np.testing.assert_allclose(*np.transpose(losses), rtol=1e-3)
    assert losses[2][0] < losses[0][0]


@pytest.fixture
def exported_here(monkeypatch):
    """Export in this process, where tests share the traces of networks; all else stays in processes of its own."""
    apart = growth.apart
    monkeypatch.setattr(
        growth, "apart", lambda work, *given: (work if work is growth._write else partial(apart, work))(*given)
    )


@pytest.mark.usefixtures("exported_here")
def test_what_grows_is_measured_and_drawn(tmp_path):
    place = Place("side", side=14, batch=8)
    grown = measure_growth(1, Console(quiet=True), [(20, True), (40, False)], [place])
    assert [(cost.frames, cost.checked) for cost in grown.frames] == [(20, True), (40, False)]
    for cost in grown.frames:
        assert {"frames", "fine-tune", "synthesis", "generative update"} <= cost.stages.keys()
        assert cost.peak_bytes >= max(stage.peak_bytes for stage in cost.stages.values()) > 0
    ((measured, ours, theirs),) = grown.steps
    assert measured == place
    assert min(*ours, *theirs) > 0
    save_growth(grown, tmp_path / "growth.png")
    assert cv2.imread(str(tmp_path / "growth.png")).std() > 0


def test_plots_are_of_the_part_growth(reverie, tmp_path):
    finished = reverie("bench", "speed", "--part", "rules", "--plots", tmp_path / "growth.png")
    assert finished.code == 2
    assert "add --part growth" in finished.err

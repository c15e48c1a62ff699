"""Figures of `reverie bench speed` as tables."""

from __future__ import annotations

from reverie.device_runtime.engine.installed import installed_engine
from reverie.tools.bench.speed.run import Speed
from reverie.tools.bench.speed.tables import print_markdown
from reverie.tools.bench.speed.update import StageCost

MB = 1_000_000


def test_a_document_gets_whole_rows_with_ratios_and_what_all_stages_took(capsys):
    ours = {"replay": StageCost(1.0, 100 * MB), "fine-tune": StageCost(5.0, 150 * MB)}
    theirs = {"replay": StageCost(2.0, 400 * MB), "fine-tune": StageCost(10.0, 600 * MB)}
    print_markdown(Speed((2,), update={"Reverie": ours, "torch": theirs}))
    engine, _, title, gap, *lines = capsys.readouterr().out.rstrip().splitlines()
    assert engine == f"Reverie on {installed_engine()}."
    assert (title, gap) == ("### A whole update", "")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["stage", "seconds", "torch", "ratio", "peak MB", "torch", "ratio"]
    assert set("".join(rows[1])) == {"-"}
    assert rows[2:] == [
        ["replay", "1.0", "2.0", "0.50", "100", "400", "0.25"],
        ["fine-tune", "5.0", "10.0", "0.50", "150", "600", "0.25"],
        ["all", "6.0", "12.0", "0.50", "150", "600", "0.25"],
    ]

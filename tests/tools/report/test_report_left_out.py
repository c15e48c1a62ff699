"""What a report says of labels that were left out, and of what no measure tells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from html_check import checked

pytest.importorskip("matplotlib", reason="plots are made by the extra `report`")
from test_report_verb import HOSTILE, figures

from reverie.tools.report.page import page


def test_what_was_left_out_and_what_nothing_tells_is_told(shown):
    unknown = "no rehearsal tells what the measures of known classes are worth"
    judged = {"checks": [], "promoted": True, "unknown": unknown, "generator": {"promoted": True, "checks": []}}
    report = figures(("cup",)) | {"promotion": judged, "not_learnt": {HOSTILE: "it recognises 1 of 4"}}
    text = checked(page(replace(shown, report=report))).text
    assert f"Not known for sure: {unknown}." in text
    assert "Labels left out" in text
    assert HOSTILE in text

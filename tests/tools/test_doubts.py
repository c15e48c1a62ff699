"""What is told of networks that were pretrained too little, and that nothing untold of a bundle is trusted."""

from __future__ import annotations

import pytest

from reverie.tools.doubts import doubts

CLASSES = ("apple", "kiwi", "lemon")


def test_classes_that_are_not_recognised_or_not_made_are_named():
    told = doubts(CLASSES, {"class_accuracy": [0.9, 0.03, 0.49], "class_coverage": [0.9, 0.1, 0.17]})
    assert len(told) == 2
    assert "recognises less than half of the validation images of kiwi, lemon:" in told[0]
    assert "makes less than half its share of kiwi, and" in told[1]


def test_of_networks_that_do_well_nothing_is_told():
    assert doubts(CLASSES, {"class_accuracy": (1.0, 0.5, 0.8), "class_coverage": (0.3, 0.3, 0.4)}) == []


@pytest.mark.parametrize(
    "measured",
    [None, [], "0.1", {}, {"class_accuracy": 0.1}, {"class_coverage": ["0"]}, {"class_accuracy": [None, 0, 0]}],
)
def test_what_is_no_such_figure_tells_nothing(measured):
    assert doubts(CLASSES, measured) == []

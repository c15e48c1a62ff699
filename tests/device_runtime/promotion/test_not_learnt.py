"""Labels that were not learnt are told apart from all else that is wrong: without them, the others may serve."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_promotion import DEFAULT, GOOD, REFUSED

from reverie.device_runtime.promotion.decision import decide
from reverie.device_runtime.promotion.figures import Counts

PENS_MISSING = (Counts("cup", 12, 0, 10), Counts("pen", 12, 0, 3))


def test_labels_that_were_not_learnt_are_left_out_where_they_alone_are_wrong():
    decision = decide(replace(GOOD, held_out=PENS_MISSING), DEFAULT)
    assert list(decision.to_leave_out({"cup", "pen"})) == ["pen"]
    assert "pen was not learnt" in decision.not_learnt["pen"]
    assert not decision.to_leave_out({"pen"})
    assert not decide(GOOD, DEFAULT).to_leave_out({"cup", "pen"})


@pytest.mark.parametrize("name", ["agreement", "labels contradicted", "finite weights", "canary accuracy"])
def test_no_label_is_left_out_where_more_is_wrong(name):
    figures = replace(replace(GOOD, held_out=PENS_MISSING), **REFUSED[name])
    assert not decide(figures, DEFAULT).to_leave_out({"cup", "pen"})

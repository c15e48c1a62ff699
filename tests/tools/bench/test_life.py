"""`reverie bench life`: one home that is updated again and again stays what it was, and what it weighs is told."""

from __future__ import annotations

import numpy as np
import pytest

from reverie.tools.bench.harm import life
from reverie.tools.bench.harm.images import find_files
from reverie.tools.bench.harm.kinds import Material
from reverie.tools.bench.harm.outcomes import HELD_BACK, PROMOTED


@pytest.mark.slow
def test_new_classes_come_and_nothing_to_learn_is_left_out(statistics_bundle, images, monkeypatch):
    monkeypatch.setattr(life, "EVERY", 2)
    monkeypatch.setattr(life, "DARKEST", 0.9)
    lived = list(life.live(statistics_bundle, find_files(images, None), updates=4, seed=0))
    assert [one.number for one in lived] == [1, 2, 3, 4]
    assert [one.outcome for one in lived[1::2]] == [PROMOTED] * 2
    assert {one.outcome for one in lived} <= {PROMOTED, HELD_BACK}
    assert lived[0].new is None
    assert lived[-1].new > 0.5
    assert all(one.disk_bytes > 0 and one.seconds > 0 for one in lived)
    assert all((one.peak_bytes > 0) == (one.outcome == PROMOTED) for one in lived)


@pytest.mark.slow
def test_what_is_kept_of_ten_updates_is_no_more_than_of_three(statistics_bundle, images, reverie):
    done = reverie(
        "bench", "life", statistics_bundle, "--images", images, "--updates", 10, "--even-without-gain", "--markdown"
    )
    assert done.code == 0, done
    rows = [line.split("|")[1:-1] for line in done.out.splitlines()[2:]]
    assert len(rows) == 10
    assert [row[2].strip() for row in rows] == [PROMOTED] * 10
    disk = [float(row[-1]) for row in rows]
    assert max(disk[2:]) <= 1.02 * disk[2]


def test_a_new_class_comes_with_every_tenth_update_and_comes_again():
    rng = np.random.default_rng(0)
    material = Material({}, ("a", "b", "c"), ("d", "e"))
    shown = [life._labels(material, number, rng) for number in range(40)]
    assert next(number for number, labels in enumerate(shown) if "d" in labels) == 9
    assert next(number for number, labels in enumerate(shown) if "e" in labels) == 19
    assert all(len(labels) == 2 for labels in shown)
    assert sum("d" in labels for labels in shown[10:]) > 3

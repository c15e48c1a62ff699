"""What a view says, at any size, and how the window draws it."""

from __future__ import annotations

import cv2
import numpy as np
from clips import wander
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from reverie.device_runtime.camera.camera import CameraState
from reverie.device_runtime.serving.predictor import Prediction
from reverie.tools.views import window_view
from reverie.tools.views.background import UpdateState
from reverie.tools.views.controls import Controls
from reverie.tools.views.snapshot import Kept, Moment, Snapshot
from reverie.tools.views.terminal_view import page
from reverie.tools.views.view_rows import rows, sparkline

LABELS = (
    "cup",
    "[red]box[/red]",
    "茶碗の蓋を持つ手",
    "🫖 teapot",
    "a label of as many as sixty-four characters, the most",
)
LEARNT = [{"label": "cup", "before": None, "after": 0.97}, {"label": LABELS[1], "before": 0.5, "after": 1.0}]
UPDATES = (
    None,
    UpdateState(),
    UpdateState("fine-tune", 30, 200, 0.31, 75.0, {"fine-tune": tuple(1 / n for n in range(1, 99))}),
    UpdateState(share=1.0, outcome="in service", result={"report": {"classes": LEARNT}}),
    UpdateState(outcome="rejected", says="generation 0001 was rejected: it is right on 34% of held-out frames"),
)


def snapshot(update=None, labels=LABELS, **changes):
    probabilities = {label: 1 / 2 ** (at + 1) for at, label in enumerate(labels)}
    prediction = Prediction(labels[0], 0.5, probabilities)
    image = next(wander("chelsea", 1))
    values = {
        "camera": CameraState("live", "live", 100, 25.0, (240, 200)),
        "moment": Moment(100, image, image, prediction, "0001", 0.012),
        "rate": 25.0,
        "labels": labels,
        "counts": {labels[0]: 17},
        "set_aside": {},
        "holding": None,
        "suggested": None,
        "asking": None,
        "last": Kept(labels[0], "near duplicate", 1.0),
        "trouble": "",
        "update": update,
        "unfinished": False,
        "generation": "0001",
        "region": None,
    }
    return Snapshot(**values | changes)


@given(
    st.integers(24, 220),
    st.integers(8, 70),
    st.sampled_from(UPDATES),
    st.booleans(),
    st.sampled_from([None, "", "a name"]),
    st.booleans(),
    st.booleans(),
)
def test_every_row_fits_and_all_rows_are_used(width, height, update, plain, typing, helping, asking):
    now = snapshot(update)
    now = snapshot(update, asking=now.moment) if asking else now
    controls = Controls(None, chosen=LABELS[1], typing=typing, helping=helping)
    shown = page(now, controls, width, height, plain=plain).plain.split("\n")
    assert len(shown) == height
    assert all(cell_len(line) <= width for line in shown)
    if plain:
        said = "".join(line for line in shown)
        assert all(ord(c) < 128 or c in "".join(LABELS) + "…" for c in said)


def test_a_narrow_terminal_says_what_counts_and_a_wide_one_shows_the_picture():
    narrow = page(snapshot(UPDATES[2]), Controls(None), 40, 16, plain=False).plain
    for words in (
        "generation 0001",
        "camera live",
        "50%",
        "17 frames",
        "not kept: near duplicate",
        "fine-tune",
        "1:15",
    ):
        assert words in narrow, words
    assert "▀" not in narrow
    wide = page(snapshot(), Controls(None), 120, 30, plain=False)
    assert wide.plain.count("▀") > 500
    colours = {str(span.style) for span in wide.spans}
    assert len(colours) > 50


def test_the_class_that_is_chosen_is_in_sight_however_many_there_are():
    labels = tuple(f"class {n}" for n in range(60))
    for chosen in ("class 0", "class 31", "class 59"):
        shown = rows(snapshot(labels=labels), Controls(None, chosen=chosen), 44, 20, plain=True)
        assert any(line.plain.startswith(">") and chosen in line.plain for line in shown)


@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.integers(0, 30))
def test_a_sparkline_is_as_long_as_there_is_room_and_its_lowest_is_lowest(values, columns):
    line = sparkline(values, columns)
    newest = values[-columns:] if columns else []
    assert len(line) == len(newest)
    if newest and max(newest) > min(newest):
        assert line[int(np.argmin(newest))] == "▁"
        assert line[int(np.argmax(newest))] == "█"


def test_the_window_shows_the_same_words_and_the_picture():
    plain = window_view.drawn(snapshot(), Controls(None))
    assert plain.dtype == np.uint8
    picture = plain[:, : window_view.PICTURE[0]]
    small = cv2.resize(picture[: picture.shape[0] - 1], (60, 50))
    assert small.std() > 30
    typing = window_view.drawn(snapshot(), Controls(None, typing="mug"))
    assert (typing[:, window_view.PICTURE[0] :] != plain[:, window_view.PICTURE[0] :]).any()


def test_the_window_writes_every_word_and_wide_characters_side_by_side():
    now, controls = snapshot(), Controls(None)
    cells = window_view.drawn(now, controls)[:, window_view.PICTURE[0] + 2 * window_view.CELL :]
    for at, line in enumerate(rows(now, controls, window_view.COLUMNS, window_view.ROWS, plain=True)):
        column = 0
        for character in line.plain:
            wide = cell_len(character)
            top, left = at * window_view.LINE, column * window_view.CELL
            cell = cells[top : top + window_view.LINE, left : left + wide * window_view.CELL]
            if character.isalnum():
                assert (cell != window_view.PAPER).any(), line.plain
            column += wide

"""A generation is tried in a real process of its own, from its files: only what answers as in memory may serve."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
from judged import serves

from reverie.device_runtime.errors import EngineError
from reverie.device_runtime.home import store
from reverie.device_runtime.promotion import fresh_process
from reverie.device_runtime.promotion.fresh_process import wrong_answers


@pytest.fixture
def written(home, updated):
    return store.add_generation(home, store.read_generation(home), updated.models, serves({}))


def test_what_was_written_answers_as_the_models_it_was_written_from(home, written, updated):
    assert wrong_answers(home, written, updated.models) == ""


def test_it_works_from_anywhere_with_a_home_that_is_given_relative_to_there(home, written, updated, monkeypatch):
    (home.parent / "numpy.py").write_text("raise SystemExit('not this one')", encoding="utf-8")
    monkeypatch.chdir(home.parent)
    assert wrong_answers(home.relative_to(home.parent), written, updated.models) == ""


def test_a_file_that_was_truncated_after_writing_is_found_in_one_line(home, written, updated):
    path = home / "generations/0001/generator.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    said = wrong_answers(home, written, updated.models)
    assert "does not load" in said
    assert "generator.onnx has" in said
    assert "\n" not in said


def test_other_weights_than_those_in_memory_are_found(home, written, updated):
    for part in ("solver", "generator"):
        changed = {name: value * np.float32(1.2) for name, value in getattr(updated.models, part).items()}
        other = replace(updated.models, **{part: changed})
        assert "are not those in memory" in wrong_answers(home, written, other)


def test_answers_that_are_no_numbers_are_found(home, updated):
    name, value = next(iter(updated.models.solver.items()))
    broken = updated.models.with_solver({name: np.full_like(value, np.nan)})
    generation = store.add_generation(home, store.read_generation(home), broken, serves({}))
    assert wrong_answers(home, generation, broken) == "its logits are no numbers"


def test_a_process_that_hangs_is_ended(home, written, updated):
    began = time.monotonic()
    assert "does not load and answer within 0 s" in wrong_answers(home, written, updated.models, seconds=0.01)
    assert time.monotonic() - began < 30


def test_a_machine_that_can_start_no_process_says_so_and_the_update_may_be_tried_again(
    home, written, updated, monkeypatch
):
    def fail(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(EngineError, match="cannot start a process"):
        wrong_answers(home, written, updated.models)


def test_what_crashes_without_a_word_is_named_by_its_exit_code(home, written, updated, monkeypatch):
    monkeypatch.setattr(fresh_process.sys, "executable", "/bin/false")
    assert wrong_answers(home, written, updated.models).endswith("exit code 1")
    monkeypatch.setattr(fresh_process.sys, "executable", "/bin/true")
    assert wrong_answers(home, written, updated.models) == "it does not answer in a process of its own"

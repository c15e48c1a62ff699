"""The labelled inputs of an update in progress, as they were stored when it began, and the labels it goes on without.

A label that was not learnt would keep all others from serving. The update begins anew without it, from the same stored
inputs: the journal says so in the same commit that forgets the stages, and that it is not to let go of its frames.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reverie.device_runtime.home.checkpoints import Checkpoints
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.method.labelled import Frames
from reverie.device_runtime.method.monitor import Monitor, StageRecord
from reverie.device_runtime.method.rows import Rows

FRAMES = "frames"
INPUTS = "inputs"
"""What the inputs are kept as, beside the checkpoint of the stage "frames", which has all else of the frames."""


@dataclass(frozen=True)
class UpdateFrames:
    """What an update learns, and what it does not."""

    learnt: Frames
    set_aside: dict[str, Any]
    """Label → reason → number of frames that were not taken."""
    not_learnt: dict[str, str]
    """Label → why the update goes on without it."""

    def told(self) -> dict[str, Any]:
        """What the report says of it."""
        return {"set_aside": self.set_aside, "not_learnt": self.not_learnt}


def store_frames(
    checkpoints: Checkpoints, frames: Frames, reading: StageRecord, set_aside: Mapping[str, Any] | None
) -> None:
    """Keep `frames` for all stages; `reading` is what it took to make them inputs. Raises StorageError, HomeError."""
    checkpoints.save_rows(INPUTS, frames.inputs)
    arrays = {"shape": np.array(frames.inputs.shape), "labels": frames.labels, "classes": np.array(frames.classes)}
    arrays["set_aside"] = np.array(json.dumps(set_aside or {}))
    checkpoints.save(FRAMES, 0, arrays | reading.to_state(spent=reading.seconds))


def load_frames(checkpoints: Checkpoints, journal: Journal, monitor: Monitor) -> UpdateFrames | None:
    """What `store_frames` kept but for labels left out; None where it is damaged. Raises HomeError, StorageError."""
    inputs: Rows | None = None
    with monitor.stage(FRAMES):
        stored = monitor.resume()
        if stored is not None and "inputs" in stored:  # of an update that an older version began
            inputs = stored["inputs"]
        elif stored is not None:
            inputs = checkpoints.load_rows(INPUTS, tuple(stored["shape"].tolist()))
    if stored is None or inputs is None:
        return None
    frames = Frames(inputs, stored["labels"], tuple(stored["classes"].tolist()))
    set_aside = json.loads(str(stored["set_aside"])) if "set_aside" in stored else {}
    not_learnt, seconds = journal.left_out()
    monitor.take_off(seconds)
    return UpdateFrames(frames.without(not_learnt), set_aside, not_learnt)


def go_on_without(journal: Journal, monitor: Monitor, labels: Mapping[str, str], version: str) -> None:
    """All stages begin anew without `labels`, for the reasons there; their stored frames stay. Raises StorageError."""
    spent = monitor.elapsed - monitor.records[FRAMES].seconds  # reading the frames is not done again
    journal.begin_anew(version, kept=(FRAMES, INPUTS), left_out=labels, seconds=spent)

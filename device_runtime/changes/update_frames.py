"""The labelled inputs of an update in progress, as they were stored when it began, and the labels it goes on without.

A label that was not learnt would keep all others from serving. The update begins anew without it, from the same stored
inputs; that it does is noted first, so that an update that is cut off on the way comes to the same end.
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
from reverie.device_runtime.method.monitor import Monitor, StageRecord, State
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
    seconds: float
    """That went before it did."""

    def told(self) -> dict[str, Any]:
        """What the report says of it."""
        return {"set_aside": self.set_aside, "not_learnt": self.not_learnt}


def store_frames(
    checkpoints: Checkpoints, frames: Frames, reading: StageRecord, set_aside: Mapping[str, Any] | None
) -> None:
    """Keep `frames` for all stages; `reading` is what it took to make them inputs. Raises StorageError, HomeError."""
    checkpoints.save_rows(INPUTS, frames.inputs)
    arrays = {"shape": np.array(frames.inputs.shape), "labels": frames.labels, "classes": np.array(frames.classes)}
    told = {"set_aside": np.array(json.dumps(set_aside or {})), "not_learnt": np.array("{}")}
    checkpoints.save(FRAMES, 0, arrays | told | reading.to_state(spent=reading.seconds))


def load_frames(checkpoints: Checkpoints, monitor: Monitor) -> UpdateFrames | None:
    """What `store_frames` kept but for what is not learnt; None where it is damaged. Raises HomeError."""
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
    not_learnt = _told(stored, "not_learnt")
    seconds = float(stored["seconds"]) if "seconds" in stored else 0.0
    return UpdateFrames(frames.without(not_learnt), _told(stored, "set_aside"), not_learnt, seconds)


def go_on_without(
    journal: Journal, checkpoints: Checkpoints, labels: Mapping[str, str], seconds: float, version: str
) -> None:
    """All stages begin anew without `labels`, for the reasons there, after so many `seconds`; their frames stay stored.

    A cut before the last line loses the stages, which then come to the same end. Raises StorageError, HomeError.
    """
    stored = checkpoints.load(FRAMES)
    if stored is None:
        return  # damaged meanwhile: what reads it next says so
    journal.begin_anew(version, kept=(FRAMES, INPUTS), left_out=labels)
    not_learnt = np.array(json.dumps(_told(stored, "not_learnt") | dict(labels)))
    before = float(stored["seconds"]) if "seconds" in stored else 0.0
    checkpoints.save(FRAMES, 0, stored | {"not_learnt": not_learnt, "seconds": np.array(before + seconds)})


def _told(stored: State, what: str) -> dict[str, Any]:
    """JSON that an older version may not have stored."""
    told: dict[str, Any] = json.loads(str(stored[what])) if what in stored else {}
    return told

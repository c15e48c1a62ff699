"""A folder of labelled images as inputs, unchecked: what benches learn is not to depend on what is set aside."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reverie.device_runtime.camera.inputs import InputMaker
from reverie.device_runtime.method.labelled import Frames, label_files


def read_frames(folder: Path, make: InputMaker, min_images: int) -> Frames:
    """All of `folder/LABEL/*.png|jpg` as inputs. Raises FramesError naming the first thing wrong."""
    labelled = label_files(folder, min_images)
    labels = np.repeat(np.arange(len(labelled)), [len(names) for _, names in labelled])
    files = [folder / label / name for label, names in labelled for name in names]
    return Frames(make.read(files), labels, tuple(label for label, _ in labelled))

"""Live prediction beside eager torch, in one process and by turns; run in a process of its own by `box.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from reverie.device_runtime.bundle.preprocess import image_to_input
from reverie.device_runtime.changes import installation
from reverie.device_runtime.engine.runtime import THREADS
from reverie.device_runtime.serving.predictor import Predictor
from reverie.export.exporter import export_bundle
from reverie.export.networks import Networks
from reverie.tools.bench.speed.sizes import built
from reverie.tools.bench.speed.turns import by_turns

FRAME = (480, 640, 3)
"""What a camera gives."""
FRAMES_A_REPEAT = 20
"""Frames for each repeat of a step, since one takes a millisecond."""


def write_box(size: str, folder: Path) -> Networks:
    """The networks of `size` as `folder/bundle`, the home of a box, the solver as torch saves it, and an image."""
    networks = built(size)
    networks = replace(networks, preprocessing=replace(networks.preprocessing, resize="stretch"))
    folder.mkdir(parents=True)
    export_bundle(networks, folder / "bundle", lambda _: None)
    installation.install(folder / "bundle", folder / "home")
    torch.save(networks.solver.state_dict(), folder / "solver.pt")
    _, height, width = networks.input_shape
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    cv2.imwrite(str(folder / "image.png"), pixels)
    return networks


def frame_times(size: str, folder: Path, repeats: int) -> dict[str, float]:
    """Milliseconds by engine from a camera's frame to the probability of each class, in the new `folder`."""
    torch.set_num_threads(THREADS)
    networks = write_box(size, folder)
    predictor = Predictor(folder / "home")
    frame = np.random.default_rng(0).integers(0, 256, FRAME, dtype=np.uint8)

    def predict() -> object:
        predictor.take_up()
        return predictor.predict(frame).probabilities

    steps = {"ours": predict, "torch": lambda: in_torch(networks, frame)}
    return by_turns(steps, FRAMES_A_REPEAT * repeats)


@torch.inference_mode()
def in_torch(networks: Networks, image: np.ndarray) -> dict[str, float]:
    """As `Predictor.predict`: the probability of each class."""
    input_ = torch.from_numpy(image_to_input(image, networks.preprocessing)[None])
    probabilities = networks.solver(input_)[0, : len(networks.classes)].softmax(0).tolist()
    return dict(zip(networks.classes, probabilities, strict=True))

"""The guides of a provider, from top to bottom: from a model to a bundle, and what is trusted of it."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import onnx
import pytest
import short
import torch
from guide import Reader, blocks, commands, pictures
from onnx import TensorProto, helper, numpy_helper

from reverie.device_runtime.changes import installation
from reverie.device_runtime.config import UpdateConfig
from reverie.device_runtime.frames import frame_store
from reverie.export.pretraining import pipeline, pretrained
from reverie.tools.rehearsal import rehearse

pytestmark = pytest.mark.slow

LARGE = """
from torch import nn

class Solver(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(4, 9)

    def forward(self, images):
        return self.classifier(self.features(images))
"""
PREPROCESSING = """
import cv2
import numpy as np

def from_file(path):
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    image = cv2.resize(image, (18, 18), interpolation=cv2.INTER_AREA)[1:17, 1:17] / 255
    return ((image - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).transpose(2, 0, 1).astype(np.float32)
"""
SMALLER = {"--size 224,224 --resize 256": "--size 16,16 --resize 18", "--size 224,224": "--size 16,16"}
QUICKLY = ("--solver-epochs", "1", "--gan-steps", "2")


def model_file(path):
    """A trained solver of two classes, as a file of its own."""
    weights = np.random.default_rng(0).normal(0, 0.02, (2, 3 * 16 * 16)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["images"], ["row"]), helper.make_node("Gemm", ["row", "w"], ["out"], transB=1)],
        "model",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


@pytest.fixture
def provider(workspace, monkeypatch):
    """The folder of a provider who has photographs, networks and weights of their own."""
    for model in ("solver", "generator", "discriminator"):
        monkeypatch.setitem(pretrained.REFERENCE, model, f"small_reference:{model.capitalize()}")
    monkeypatch.setattr(pipeline, "RANGED", "small_reference:Generator")
    pictures(workspace / "photos", ["cup", "box"], 12, colour=True)
    pictures(workspace / "new-frames", ["cup", "pen"], 6)
    pictures(workspace / "held-out", ["cup", "box"], 20, colour=True)
    monkeypatch.setattr(rehearse, "PLAYED", ("known as another", "all known again"))
    monkeypatch.setattr(rehearse, "UpdateConfig", lambda seed: short.few(UpdateConfig(seed=seed)))
    shutil.copytree(workspace / "photos/cup", workspace / "some-photos")
    model_file(workspace / "model.onnx")
    (workspace / "my_large_model.py").write_text(LARGE, encoding="utf-8")
    (workspace / "my_preprocessing.py").write_text(PREPROCESSING, encoding="utf-8")
    names: dict = {}
    exec(LARGE, names)  # noqa: S102 (what has just been written)
    torch.save(names["Solver"]().state_dict(), workspace / "imagenet.pt")
    return workspace


@pytest.mark.usefixtures("few_steps", "anything_serves")
def test_the_guides_of_a_provider_can_be_followed_from_top_to_bottom(repository, provider, reverie, bundle):
    guide = repository / "docs/guide/workstation.md"
    (source,) = blocks(guide, "python")
    (provider / "my_model.py").write_text(source, encoding="utf-8")
    pretrains = [command for command in commands(guide) if command.startswith("reverie pretrain ")]
    reader = Reader(reverie, SMALLER, before={command: [lambda: QUICKLY] for command in pretrains})
    said = reader.follow(guide)
    assert "8 artifacts agree with torch" in said["reverie export trained --output bundle --spare-classes 4"]
    assert "4 artifacts agree with torch" in said["reverie export trained-large --output bundle-large"]

    home = provider / "home"
    assert reverie("install", "bundle-mine", "--home", home).code == 0
    finished = reverie("update", "--frames", "new-frames", "--home", home)
    assert finished.code == 0, finished
    assert "classes: box, cup, pen" in " ".join(reverie("status", "--home", home).out.split())

    follow_the_guide_to_security(repository, provider, reverie, bundle)


def follow_the_guide_to_security(repository, provider, reverie, bundle):
    """With the networks that were trained."""
    box, units = provider / "box", provider / "units"
    installation.install(bundle, box)
    units.mkdir()
    frame = cv2.imencode(".png", np.eye(28, dtype=np.uint8) * 255)[1].tobytes()
    with frame_store.opened(box) as frames:
        for label in ("cup", "box", "pen"):
            frames.add(label, frame)
    reader = Reader(
        reverie,
        instead={"/var/lib/reverie": box, "/var/lib/doors": provider / "doors", "/etc/systemd/system": units},
    )
    said = reader.follow(repository / "docs/guide/security.md")
    assert "serves generation 0000" in said["reverie install doors-1.zip --home /var/lib/doors --key provider.pub"]
    assert f"update --home {box}" in (units / "reverie-update.service").read_text("utf-8")
    with frame_store.opened(box) as frames:
        assert frames.frames() == []

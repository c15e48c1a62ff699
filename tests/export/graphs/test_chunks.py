"""How a device splits batches is settled at export, for each network from what it computes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from workstation_support import SLOTS, SMALL, TinyDiscriminator, TinySolver, example_networks, tiny_networks

from reverie.device_runtime.bundle.manifest import MODELS, SAMPLING, SEARCHES
from reverie.export.exporter import export_bundle
from reverie.export.graphs import graphs, onnx_export
from reverie.export.graphs.chunks import FEWEST, MOST, chunk_rows

pytestmark = pytest.mark.slow


class Comparing(TinyDiscriminator):
    """Sees how an image differs from the others of its batch."""

    def forward(self, images, code):
        return super().forward(images - images.mean(dim=0, keepdim=True), code)


def test_a_network_whose_rows_depend_on_one_another_keeps_whole_batches(tmp_path):
    networks = dataclasses.replace(tiny_networks(), discriminator=Comparing())
    manifest = export_bundle(networks, tmp_path / "bundle", lambda _: None)
    assert manifest.chunk("discriminator") is None
    assert manifest.chunk("generator") is None  # which trains through it
    assert manifest.chunk("synthesis_noise") is None  # which searches through the generator
    assert manifest.chunk("sampling") is None
    assert manifest.chunk("solver")


def test_a_bundle_that_says_nothing_of_chunks_has_whole_batches(exported):
    manifest = exported(SMALL).manifest
    assert all(manifest.chunk(name) for name in (*MODELS, *SEARCHES, SAMPLING))
    manifest.training.pop("chunks")
    assert not any(manifest.chunk(name) for name in (*MODELS, *SEARCHES, SAMPLING))


def test_chunks_are_small_where_activations_are_many_and_large_where_parameters_are():
    networks = example_networks((1, 28, 28))
    wide = TinySolver(nn.Flatten(), nn.Linear(128, 4000), size=(8, 8))
    rows = []
    for solver, shape in ((networks.solver, (1, 28, 28)), (wide, (1, 8, 8))):
        module = graphs.SolverTraining(solver)
        example = {
            "input": torch.zeros(2, *shape),
            "target": torch.zeros(2, SLOTS),
            "temperature": torch.ones(2),
            "weight": torch.ones(2),
            "active": torch.ones(SLOTS),
        }
        model = onnx_export.to_onnx(module, example, ("loss", "logits"), ("active",))
        rows.append(chunk_rows(model, sum(p.numel() for p in module.parameters())))
    assert rows == [2 * FEWEST, MOST]

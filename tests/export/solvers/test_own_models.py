"""`reverie export` of a user's own torch modules: the bundle computes what they compute, with room for new classes."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.engine.graph import Graph

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)
NOISE = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
KNOWN_CODES = np.eye(7, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]


def served(folder, name, **feeds):
    return Graph((folder / f"{name}.onnx").read_bytes()).run(feeds)


def in_torch(network, *inputs):
    with torch.no_grad():
        return network(*(torch.from_numpy(value) for value in inputs)).numpy()


def assert_solver_kept(folder, solver, spare):
    """Known logits as in torch, new ones their average before the mask of -10,000, and never predicted."""
    outputs = served(folder, "solver", input=IMAGES)
    known = in_torch(solver, IMAGES)
    np.testing.assert_allclose(outputs["logits"][:, :3], known, rtol=1e-5, atol=1e-6)
    average = np.repeat(known.mean(axis=1, keepdims=True), spare, axis=1)
    np.testing.assert_allclose(outputs["logits"][:, 3:] + 1e4, average, atol=2e-3)
    assert not outputs["probabilities"][:, 3:].any()


def test_networks_that_know_nothing_of_spare_classes_keep_their_outputs_and_get_room_for_more(own):
    """The solver's last layer is widened from outside; generator and discriminator take the new codes."""
    folder = own.export()
    assert_solver_kept(folder, own.saved["solver"], spare=4)
    generated = served(folder, "generator", noise=NOISE, code=KNOWN_CODES)["generated"]
    verdict = served(folder, "discriminator", input=generated, code=KNOWN_CODES)["verdict"]
    images = in_torch(own.saved["generator"], NOISE, KNOWN_CODES[:, :3])
    np.testing.assert_allclose(generated, images, atol=1e-6)
    expected = in_torch(own.saved["discriminator"], images, KNOWN_CODES[:, :3])
    np.testing.assert_allclose(verdict, expected, atol=1e-5)
    new_code = np.eye(7, dtype=np.float32)[[5] * 6]
    with torch.no_grad():
        average = own.saved["generator"].layer.weight[:, 5:].mean(dim=1).numpy()
        rest = torch.nn.functional.linear(torch.from_numpy(NOISE), own.saved["generator"].layer.weight[:, :5])
        before_tanh = rest.numpy() + average + own.saved["generator"].layer.bias.numpy()
    unknown = served(folder, "generator", noise=NOISE, code=new_code)["generated"]
    np.testing.assert_allclose(unknown.reshape(6, 64), np.tanh(before_tanh), atol=1e-5)


def test_a_solver_that_builds_itself_with_spare_classes_and_a_generator_that_takes_noise_alone(own):
    """Weights of the solver from safetensors; the same image for a noise, whatever the code."""
    safetensors.torch.save_file(own.saved["solver"].state_dict(), own.folder / "solver.safetensors")
    generator = own.save("Codeless", "generator.pt")
    changes = {"solver": "my_networks:growing", "solver_weights": "solver.safetensors"}
    folder = own.export(generator="my_networks:Codeless", spare_classes="2", name="mine", **changes)
    manifest = read_manifest(folder)
    assert (manifest.classes, manifest.slots, manifest.name) == (("cup", "box", "pen"), 5, "mine")
    assert (manifest.input_shape, manifest.noise_size, manifest.conditional) == ((1, 8, 8), 5, False)
    assert_solver_kept(folder, own.saved["solver"], spare=2)
    for codes in (KNOWN_CODES[:, :5], KNOWN_CODES[::-1, :5]):
        generated = served(folder, "generator", noise=NOISE, code=np.ascontiguousarray(codes))["generated"]
        np.testing.assert_allclose(generated, in_torch(generator, NOISE), atol=1e-6)


def test_a_solver_with_a_single_number_as_parameter_can_be_exported(own):
    solver = own.save("Scaled", "solver.pt")
    folder = own.export(solver="my_networks:Scaled")
    logits = served(folder, "solver", input=IMAGES)["logits"][:, :3]
    np.testing.assert_allclose(logits, in_torch(solver, IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factory", ["Frozen", "Focus"])
def test_layers_that_torch_did_not_train_and_steps_between_pixels_train_on_a_box(own, factory):
    solver = own.save(factory, "solver.pt")
    folder = own.export(solver=f"my_networks:{factory}")
    assert_solver_kept(folder, solver, spare=4)
    assert read_manifest(folder).training["parameters"] > 7 * 18


@pytest.mark.parametrize("factory", ["SpectralJudge", "DeviatingJudge"])
def test_discriminators_as_people_write_them_train_on_a_box(own, factory):
    judge = own.save(factory, "discriminator.pt").eval()
    folder = own.export(discriminator=f"my_networks:{factory}")
    verdict = served(folder, "discriminator", input=IMAGES, code=KNOWN_CODES)["verdict"]
    np.testing.assert_allclose(verdict, in_torch(judge, IMAGES, KNOWN_CODES[:, :3]), atol=1e-5)
    assert ("discriminator" in read_manifest(folder).training["chunks"]) == (factory == "SpectralJudge")


@pytest.mark.parametrize("factory", ["FrozenMaker", "MaybeMaker"])
def test_a_generator_that_was_frozen_or_may_be_left_without_a_code_is_given_one(own, factory):
    maker = own.save(factory, "generator.pt")
    folder = own.export(generator=f"my_networks:{factory}")
    assert read_manifest(folder).conditional
    generated = served(folder, "generator", noise=NOISE, code=KNOWN_CODES)["generated"]
    np.testing.assert_allclose(generated, in_torch(maker, NOISE, KNOWN_CODES[:, :3]), atol=1e-6)

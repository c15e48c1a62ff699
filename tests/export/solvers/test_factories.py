"""Weights of K classes in networks built for more: what was learnt is unchanged, new slots start as the average."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from workstation_support import TINY, TinyDiscriminator, TinyGenerator, TinySolver

from reverie.device_runtime.errors import ExportError
from reverie.export.pretraining.networks import ReferenceDiscriminator, ReferenceGenerator, ReferenceSolver
from reverie.export.pretraining.pretrained import read_pretrained
from reverie.export.solvers.factories import MOVED, find_callable, load_weights, read_weights_file, widen_classifier

SHAPE = (1, 10, 9)
KNOWN, SPARE, SEEDS = st.integers(1, 9), st.integers(0, 9), st.integers(0, 10_000)


def inputs(seed, known, spare, count=4):
    """Images, noise, and codes of known classes for the small and for the grown network."""
    draw = torch.Generator().manual_seed(seed)
    code = torch.eye(known)[torch.randint(known, (count,), generator=draw)]
    wide = torch.cat([code, torch.zeros(count, spare)], dim=1)
    return torch.randn(count, *SHAPE, generator=draw), torch.randn(count, 64, generator=draw), code, wide


def grown(build, seed, known, spare):
    """A network for `known` classes, and one for more with its weights."""
    torch.manual_seed(seed)
    small, large = build(SHAPE, known), build(SHAPE, known + spare).eval()
    load_weights(large, small.state_dict(), "weights", known, known + spare)
    return small.eval(), large


@given(known=KNOWN, spare=SPARE, seed=SEEDS)
def test_a_grown_solver_gives_known_classes_the_logits_it_gave_and_new_ones_the_average(known, spare, seed):
    small, large = grown(ReferenceSolver, seed, known, spare)
    images, *_ = inputs(seed, known, spare)
    with torch.no_grad():
        before, after = small(images), large(images)
    torch.testing.assert_close(after[:, :known], before, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after[:, known:], before.mean(1, keepdim=True).expand(-1, spare), rtol=1e-4, atol=1e-6)


@given(known=KNOWN, spare=SPARE, seed=SEEDS)
def test_grown_generators_and_discriminators_say_the_same_for_known_codes(known, spare, seed):
    images, noise, code, wide = inputs(seed, known, spare)
    with torch.no_grad():
        small, large = grown(ReferenceGenerator, seed, known, spare)
        torch.testing.assert_close(large(noise, wide), small(noise, code), rtol=1e-5, atol=1e-6)
        small, large = grown(ReferenceDiscriminator, seed, known, spare)
        torch.testing.assert_close(large(images, wide), small(images, code), rtol=1e-4, atol=1e-6)


@given(known=KNOWN, spare=SPARE, seed=SEEDS, bias=st.booleans())
def test_widening_the_last_linear_layer_keeps_its_rows_exactly(known, spare, seed, bias):
    torch.manual_seed(seed)
    solver = nn.Sequential(nn.Flatten(), nn.Linear(90, 5), nn.ReLU(), nn.Linear(5, known, bias=bias))
    before = [p.detach().clone() for p in solver[3].parameters()]
    widen_classifier(solver, SHAPE, known, known + spare)
    assert solver[3].out_features == known + spare
    after = list(solver[3].parameters())
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new[:known], old)
        torch.testing.assert_close(new[known:], old.mean(0, keepdim=True).expand(spare, *old.shape[1:]))


def test_the_last_linear_layer_of_the_right_width_is_the_one_that_is_widened():
    """Here a hidden layer has as many outputs as there are classes, too."""
    solver = nn.Sequential(nn.Flatten(), nn.Linear(90, 3), nn.ReLU(), nn.Linear(3, 3))
    first = solver[1]
    widen_classifier(solver, SHAPE, 3, 5)
    assert solver[1] is first
    assert solver(torch.zeros(2, *SHAPE)).shape == (2, 5)


def test_a_solver_without_a_linear_layer_at_its_end_says_what_to_do():
    solver = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ExportError, match=r"no linear layer with 3 outputs .* let its factory take `classes`"):
        widen_classifier(solver, SHAPE, 3, 5)
    widen_classifier(solver, SHAPE, 3, 3)
    assert solver(torch.zeros(2, *SHAPE)).shape == (2, 3)


@given(missing=st.sets(st.sampled_from(["features.0.weight", "features.0.bias", "classifier.weight"])), extra=SPARE)
def test_weights_that_do_not_fit_are_refused_with_their_names_and_the_network_is_unchanged(missing, extra):
    network = TinySolver(nn.ReLU())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    surplus = {f"x{i}": torch.zeros(1) for i in range(extra)}
    weights = {name: value + 1 for name, value in before.items() if name not in missing} | surplus
    if missing or surplus:
        with pytest.raises(ExportError) as caught:
            load_weights(network, weights, "some.pt")
        assert all(name in str(caught.value) for name in [*missing, *sorted(surplus)[:3]])
        expected = before
    else:
        load_weights(network, weights, "some.pt")
        expected = weights
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("build", [TinySolver, TinyGenerator, TinyDiscriminator])
@pytest.mark.parametrize("wrap", [False, True], ids=["state dict", "under state_dict"])
def test_the_same_weights_are_read_from_either_kind_of_file(build, wrap, tmp_path):
    weights = build().state_dict()
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    torch.save({"state_dict": weights, "epoch": 3} if wrap else weights, tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        read = read_weights_file(tmp_path / name)
        assert read.keys() == weights.keys()
        assert all(torch.equal(read[n], weights[n]) for n in weights)


@pytest.mark.parametrize("name", ["empty.pt", "text.safetensors", "list.pt"])
def test_a_file_that_holds_no_weights_is_refused_with_its_name(name, tmp_path):
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("weights", encoding="utf-8")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ExportError, match=rf"cannot read weights from .*{name} \(\w+\)"):
        read_weights_file(tmp_path / name)


@pytest.mark.parametrize("damage", [{"classes": 3}, {"weights": {}}, {"preprocessing": {"height": 4}}, None])
def test_a_folder_that_pretrain_did_not_write_is_refused(tmp_path, damage):
    described = {
        "classes": ["a", "b"],
        "input_shape": TINY,
        "preprocessing": {"height": 8, "width": 8, "colour": "grey"},
        "factories": {},
        "weights": {name: f"{name}.safetensors" for name in ("solver", "generator", "discriminator")},
        "measured": {},
    }
    path = tmp_path / "pretrained.json"
    path.write_text(json.dumps(described), encoding="utf-8")
    assert read_pretrained(tmp_path).input_shape == TINY
    path.write_text(json.dumps(described | damage) if damage else "{", encoding="utf-8")
    with pytest.raises(ExportError, match="holds no pretrained models"):
        read_pretrained(tmp_path)


def test_reference_networks_take_any_image_shape_and_number_of_classes():
    for shape, classes in [((1, 8, 8), 2), ((3, 5, 70), 3), ((1, 96, 96), 9), ((3, 1, 1), 1), ((1, 33, 17), 4)]:
        code = torch.eye(classes)[[0, classes - 1]]
        with torch.no_grad():
            images = ReferenceGenerator(shape, classes)(torch.randn(2, 64), code)
            assert images.shape == (2, *shape)
            assert float(images.abs().max()) <= 1
            assert ReferenceSolver(shape, classes)(images).shape == (2, classes)
            assert ReferenceDiscriminator(shape, classes)(images, code).shape == (2,)


@settings(max_examples=5)
@given(seed=SEEDS)
def test_spectral_normalisation_settles_on_weights_of_largest_singular_value_one(seed):
    """In training, the stored vector follows the weights by one power iteration a step."""
    torch.manual_seed(seed)
    layer = ReferenceDiscriminator((1, 8, 8), 2).hidden.train()
    x = torch.eye(layer.layer.in_features)
    for _ in range(60):
        layer(x)
    with torch.no_grad():
        rows = (layer.eval()(x) - layer.layer.bias).numpy()
    assert np.linalg.norm(rows, ord=2) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "name", ["export.networks:ReferenceSolver", "tools.generators:TransposedGenerator", "tools.mlp:Mlp"]
)
def test_networks_are_found_by_the_names_that_earlier_pretraining_wrote(name):
    before, _, factory = f"reverie.{name}".partition(":")
    assert find_callable(f"{before}:{factory}") is find_callable(f"{MOVED[before]}:{factory}")

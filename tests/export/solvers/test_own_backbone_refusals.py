"""Models that cannot be cut or do not fit: one line, exit code 1, nothing written."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import own_backbones
import pytest
import torch

from reverie.device_runtime.bundle.contents import read_manifest
from reverie.device_runtime.engine.graph import Graph

pytestmark = pytest.mark.slow


@pytest.fixture
def given(workspace):
    """The user's module and four pictures of each of three classes."""
    shutil.copy(own_backbones.__file__, workspace / "my_backbones.py")
    for at, label in enumerate(("bolt", "nut", "washer")):
        (workspace / "pictures" / label).mkdir(parents=True)
        for name in "abde":
            image = np.random.default_rng([at, ord(name)]).integers(0, 256, (16, 16, 3)).astype(np.uint8)
            cv2.imwrite(f"pictures/{label}/{name}.png", image)
    return workspace


def pretrain(solver, until="hidden", *more):
    return (
        *("pretrain", "pictures", "--solver", f"my_backbones:{solver}", "--backbone-until", until),
        *("--output", "trained", "--solver-epochs", 1, "--gan-steps", 1, *more),
    )


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("solver", "until", "message"),
    [
        ("growing", "hiden", "no module 'hiden' to cut before; nearest: hidden"),
        ("growing", "", "no module '' to cut before"),
        ("Around", "hidden", "the cut does not separate the model"),
        ("Windows", "hidden", "two images make features of shape (4, 16) before 'hidden'"),
        ("ByValue", "hidden", "torch cannot trace ByValue"),
        ("NoLinearHead", "hidden", "the solver has no linear layer with 9 outputs"),
        ("NoNumbers", "hidden", "the features before 'hidden' are not all numbers"),
        ("Judge", "layer", "the solver does not run on inputs of shape (3, 16, 16)"),
        ("nothing", "hidden", "my_backbones has no factory 'nothing'"),
    ],
)
def test_a_model_that_cannot_be_cut_is_refused(refused, solver, until, message):
    assert message in refused(*pretrain(solver, until))


@pytest.mark.usefixtures("given")
def test_weights_that_do_not_fit_are_named(refused):
    state = own_backbones.many().state_dict()
    state["stem.0.weight"] = torch.zeros(8, 1, 3, 3)
    torch.save(state, "weights.pt")
    said = refused(*pretrain("three", "hidden", "--solver-weights", "weights.pt"))
    assert "weights.pt does not fit" in said
    assert "stem.0.weight is (8, 1, 3, 3), the network has (8, 3, 3, 3)" in said
    state = own_backbones.many().state_dict()
    state["other.weight"] = state.pop("stem.0.weight")
    torch.save(state, "weights.pt")
    said = refused(*pretrain("many", "hidden", "--solver-weights", "weights.pt"))
    assert "it lacks stem.0.weight and holds other.weight in surplus" in said


@pytest.mark.usefixtures("given")
def test_an_operator_behind_the_cut_that_cannot_train_is_named_with_its_place_in_the_users_model(reverie, refused):
    assert reverie(*pretrain("Untrainable")).code == 0
    said = refused("export", "trained", "--output", "out")
    assert "no gradient on the device for Asinh at hidden.1" in said


@pytest.mark.usefixtures("given")
def test_a_cut_needs_a_solver_to_cut(refused):
    said = refused("pretrain", "pictures", "--backbone-until", "hidden", "--output", "trained")
    assert "--backbone-until cuts a solver of your own: give --solver too" in said


def test_pictures_of_another_size_leave_no_folder(given, refused):
    cv2.imwrite(str(given / "pictures/washer/c.png"), np.zeros((8, 8, 3), np.uint8))
    assert "washer/c.png is 8x8 pixels" in refused(*pretrain("growing"))


@pytest.fixture
def own(given):
    """Options that export three networks of the user's own with a cut."""
    options = []
    for name, network in {
        "solver": own_backbones.three(),
        "generator": own_backbones.Maker(3),
        "discriminator": own_backbones.Judge(3),
    }.items():
        torch.save(network.state_dict(), given / f"{name}.pt")
        options += [f"--{name}-weights", f"{name}.pt"]
    options += ["--solver", "my_backbones:three", "--discriminator", "my_backbones:Judge"]
    options += ["--generator", "my_backbones:Maker"]
    return ["export", "--output", "out", "--classes", "bolt,nut,washer", "--input-shape", "3,16,16", *options]


def test_own_networks_are_cut_where_the_user_says_and_features_stay_as_they_are(given, reverie, own):
    done = reverie(*own, "--backbone-until", "hidden")
    assert (done.code, done.err) == (0, "")
    manifest = read_manifest(given / "out")
    assert (manifest.input_shape, manifest.backbone.mean, manifest.backbone.variance) == ((16,), (), ())
    whole = own_backbones.three()
    whole.load_state_dict(torch.load("solver.pt", weights_only=True))
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        features = 30 * whole.eval().pool(whole.body(whole.stem(images))).flatten(1)
    seen = Graph((given / "out/backbone.onnx").read_bytes()).run({"image": images.numpy()})["features"]
    np.testing.assert_allclose(seen, features.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("hiddn", "no module 'hiddn' to cut before; nearest: hidden"),
        ("head", "the discriminator does not run on inputs of shape (12,)"),
    ],
)
def test_own_networks_that_do_not_meet_at_the_cut_are_refused(refused, own, until, message):
    assert message in refused(*own, "--backbone-until", until)


@pytest.mark.usefixtures("own")
def test_a_folder_that_is_pretrained_keeps_its_own_cut_and_its_own_solver(reverie, refused):
    assert reverie(*pretrain("growing")).code == 0
    own_solver = ("--solver", "my_backbones:three", "--solver-weights", "solver.pt")
    assert "Gaussians are of features of the solver in trained" in refused(
        "export", "trained", "--output", "out", *own_solver
    )
    said = refused("export", "trained", "--output", "out", "--backbone-until", "head")
    assert "give --backbone-until to reverie pretrain" in said

"""Bundles of format 1: where the engine for training is, they learn as before; elsewhere they are refused in words."""

from __future__ import annotations

import json

import pytest
from short import few, shorten

from reverie.device_runtime.bundle.manifest import MANIFEST
from reverie.device_runtime.bundle.onnx_operators import OPERATORS
from reverie.device_runtime.changes import installation
from reverie.device_runtime.engine.installed import TRAINING, Engine, installed_engine
from reverie.device_runtime.errors import BundleError

is_ordinary = installed_engine().name != TRAINING
on_ordinary = pytest.mark.skipif(not is_ordinary, reason=f"{TRAINING} is the engine")
on_training = pytest.mark.skipif(is_ordinary, reason=f"needs {TRAINING} as the engine")
each_sample = pytest.mark.parametrize("sample", ["format-1", "format-1-backbone"])


@pytest.fixture
def old_home(repository, tmp_path, monkeypatch):
    """A home of a bundle of format 1, as it was made where the other engine was."""
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "operators", OPERATORS)
        installation.install(repository / "models/format-1/bundle", tmp_path / "old")
    return tmp_path / "old"


@on_ordinary
@each_sample
def test_the_ordinary_engine_refuses_to_install_it_and_says_why(refused, repository, sample):
    said = refused("install", repository / "models" / sample / "bundle", "--home", "home")
    assert "runs in onnxruntime-training-cpu alone, which is not installed" in said
    assert "export the bundle again" in said


@on_ordinary
def test_on_the_ordinary_engine_a_home_of_before_predicts_and_says_that_it_cannot_learn(
    reverie, old_home, frames_folder, test_folder, tree
):
    done = reverie("predict", test_folder / "trouser", "--home", old_home, "--json")
    said = [json.loads(line)["label"] for line in done.out.splitlines()]
    assert said.count("trouser") > 0.9 * len(said)
    before = tree(old_home)
    learnt = reverie("update", "--home", old_home, "--frames", frames_folder)
    assert (learnt.code, learnt.out) == (1, "")
    assert "of format 1, which learns in onnxruntime-training-cpu alone" in learnt.err
    assert learnt.err.count("\n") == 1
    changed = {path for path in tree(old_home).items() ^ before.items() if "/" in path[0]}
    assert changed == set()
    assert reverie("verify", old_home).code == 0


@on_training
@pytest.mark.usefixtures("anything_serves")
@each_sample
def test_the_engine_for_training_learns_as_before(reverie, repository, sample, frames_folder, tmp_path, monkeypatch):
    shorten(few, monkeypatch.setattr)
    home = tmp_path / "home"
    assert reverie("install", repository / "models" / sample / "bundle", "--home", home).code == 0
    done = reverie("update", "--home", home, "--frames", frames_folder, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["report"]["engine"].startswith(TRAINING)


@on_ordinary
def test_training_operators_in_a_bundle_of_this_format_are_refused_too(own_bundle, repository, tmp_path):
    """Whatever the manifest says, the graphs are looked at."""
    old = repository / "models/format-1/bundle"
    manifest = json.loads((old / MANIFEST).read_text(encoding="utf-8"))
    for path in [old / name for name in manifest["files"]]:
        target = own_bundle / path.relative_to(old)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    (own_bundle / MANIFEST).write_text(json.dumps(manifest | {"format": 2}), encoding="utf-8")
    with pytest.raises(BundleError, match=r"its operator 'com.microsoft.\w+' runs in onnxruntime-training-cpu alone"):
        installation.install(own_bundle, tmp_path / "home")
    assert not (tmp_path / "home").exists()

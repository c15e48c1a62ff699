"""The home: generations appear whole or not at all, and what is in service is never touched."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from judged import serves

from reverie.device_runtime.bundle.contents import read_weights
from reverie.device_runtime.changes import installation, transaction
from reverie.device_runtime.errors import BundleError, HomeError, StorageError
from reverie.device_runtime.home import store


@pytest.fixture
def other(grown):
    """Networks that differ from the pretrained ones in every weight."""
    return replace(
        grown,
        **{
            name: {key: value + np.float32(1) for key, value in getattr(grown, name).items()}
            for name in ("solver", "generator", "discriminator")
        },
    )


@pytest.fixture
def add(home, other):
    return lambda report=None: store.add_generation(
        home, store.read_generation(home), other, serves(report or {"a": 1})
    )


def test_a_bundle_is_installed_as_generation_0_with_the_weights_it_holds(installed, models, same):
    generation = store.read_generation(installed)
    assert (generation.name, generation.parent, generation.classes) == ("0000", None, models.classes)
    assert store.current(installed) == "0000"
    for name in ("solver", "generator", "discriminator"):
        content = (installed / "generations/0000" / f"{name}.onnx").read_bytes()
        weights = read_weights(content, models.manifest.tensors[name])
        weights.pop("active", None)
        assert same(weights, getattr(models, name))


def test_a_new_generation_holds_the_new_weights_bit_for_bit_and_is_in_service(home, add, other, same, tree):
    before = tree(home)
    generation = add()
    loaded = store.load_models(home, store.read_generation(home))
    assert (generation.name, generation.parent, loaded.classes) == ("0001", "0000", other.classes)
    for name in ("solver", "generator", "discriminator"):
        assert same(getattr(loaded, name), getattr(other, name))
    np.testing.assert_array_equal(loaded.active, other.active)
    after = tree(home)
    assert {path for path in before if after.get(path) != before[path]} == {"current"}
    assert store.generations(home) == ["0000", "0001"]


def test_generations_follow_one_another_and_keep_their_reports(home, add):
    assert [add({"update": at}).name for at in range(1, 4)] == ["0001", "0002", "0003"]
    assert store.read_generation(home).parent == "0002"
    assert [store.read_report(home, name) for name in store.generations(home)] == [
        None,
        {"update": 1},
        {"update": 2},
        {"update": 3},
    ]


def test_too_little_free_space_is_refused_with_both_figures(home, monkeypatch):
    free = shutil.disk_usage(home)._replace(free=3 << 20)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _path: free)
    store.require_space(home, 3 << 20)
    with pytest.raises(StorageError, match="3 MB are free, 5 MB are needed"):
        store.require_space(home, 5 << 20)


def test_what_a_power_cut_left_behind_is_no_generation_and_does_not_stop_the_next(home, add):
    shutil.copytree(home / "generations/0000", home / "generations/.0001.partial")
    assert store.generations(home) == ["0000"]
    assert store.read_generation(home).name == "0000"
    assert add().name == "0001"
    assert store.generations(home) == ["0000", "0001"]
    with transaction.changing(home):
        assert sorted(p.name for p in (home / "generations").iterdir()) == ["0000", "0001"]


def test_a_generation_that_was_written_but_never_put_into_service_stays_out_of_it(home, add):
    """Power fails between the last byte of the generation and the pointer to it."""
    add()
    (home / "current").write_text("0000", encoding="utf-8")
    assert store.read_generation(home).name == "0000"
    later = add()
    assert (later.name, later.parent) == ("0002", "0000")


@pytest.mark.parametrize("name", ["solver.onnx", "generator.onnx", "discriminator.onnx"])
def test_an_altered_generation_is_never_loaded(home, name):
    path = home / "generations/0000" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="was altered"):
        store.load_models(home, store.read_generation(home))


@pytest.mark.parametrize(
    "name", ["solver_train/training_model.onnx", "generator_train/training_model.onnx", "synthesis_noise.onnx"]
)
def test_altered_graphs_of_the_installed_bundle_are_never_loaded(home, name):
    (home / "bundles" / store.read_generation(home).bundle / name).write_bytes(b"")
    with pytest.raises(BundleError, match="has 0 bytes"):
        store.load_models(home, store.read_generation(home))


def test_a_home_of_a_newer_layout_is_refused(home):
    (home / "home.json").write_text('{"layout": 2}', encoding="utf-8")
    with pytest.raises(HomeError, match="has layout 2, this Reverie knows 1"):
        store.open_home(home)


def test_a_home_is_private_to_its_owner(home, add):
    """Generations hold what was learnt from the camera."""
    add()
    assert {oct((home / p).stat().st_mode & 0o777) for p in (".", "generations/0001")} == {"0o700"}


def test_old_generations_go_but_never_the_one_in_service_nor_its_parent(home, add):
    for _ in range(5):
        add()
    store.put_in_service(home, "0002")
    store.retire(home, keep=2)
    assert store.generations(home) == ["0001", "0002", "0004", "0005"]
    store.put_in_service(home, "0005")
    store.retire(home, keep=1)
    assert store.generations(home) == ["0004", "0005"]
    assert store.confirm(home).name == "0005"


def test_a_generation_in_service_is_never_discarded(home, add):
    add()
    store.discard(home, "0001")
    assert store.current(home) == "0001"
    store.put_in_service(home, "0000")
    store.discard(home, "0001")
    assert store.generations(home) == ["0000"]


def test_a_home_that_lost_its_mark_is_not_taken_for_an_empty_directory(home, bundle, tree):
    (home / "home.json").unlink()
    before = tree(home)
    with pytest.raises(HomeError, match="is not a Reverie home"):
        installation.install(bundle, home)
    assert tree(home) == before

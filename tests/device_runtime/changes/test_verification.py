"""An altered byte anywhere in a home or in its log is noticed, and so is another key."""

from __future__ import annotations

import json

import pytest

from reverie.device_runtime.bundle.contents import fingerprint
from reverie.device_runtime.changes import transaction
from reverie.device_runtime.changes.upgrade import install
from reverie.device_runtime.changes.verification import verify_home
from reverie.device_runtime.errors import BundleError, HomeError
from reverie.device_runtime.home import store
from reverie.device_runtime.home.journal import Journal
from reverie.device_runtime.method.monitor import StageRecord
from reverie.device_runtime.serving.predictor import Predictor

NEWER = "2026-02-01T00:00:00+00:00"


def test_a_key_that_was_exchanged_in_the_home_is_noticed(own_bundle, tmp_path, keys, sign):
    home = tmp_path / "home"
    sign(own_bundle)
    install(own_bundle, home, (keys / "provider.pub").read_bytes())
    (home / "key.pub").unlink()
    with pytest.raises(HomeError, match="was told to trust the key"):
        verify_home(home)
    (home / "key.pub").write_bytes((keys / "somebody.pub").read_bytes())
    with pytest.raises(HomeError, match="was told to trust the key"):
        verify_home(home)


DAMAGES = {
    "a generation": ("generations/0000/solver.onnx", "was altered"),
    "a bundle": ("bundles/*/synthesis_noise.onnx", "was altered"),
    "a training graph": ("bundles/*/solver_train/training_model.onnx", "was altered"),
    "a manifest": ("bundles/*/manifest.json", "manifest"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_an_altered_byte_anywhere_in_a_home_is_noticed(home, name):
    verify_home(home)
    pattern, says = DAMAGES[name]
    (path,) = home.glob(pattern)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=says):
        verify_home(home)


def test_a_manifest_whose_date_was_altered_is_noticed(home, edit_manifest):
    (folder,) = (home / "bundles").iterdir()
    edit_manifest(folder, created=NEWER)
    for load in (verify_home, Predictor, lambda box: store.load_models(box, store.read_generation(box))):
        with pytest.raises(BundleError, match="was altered since it was installed"):
            load(home)


def test_an_altered_audit_log_is_noticed(home):
    journal = Journal(home)
    journal._db.execute("UPDATE audit SET who = 'nobody'")
    journal.close()
    with pytest.raises(HomeError, match="was altered at entry 1"):
        verify_home(home)


def test_a_model_of_a_generation_whose_hash_was_altered_with_it_is_still_checked(home):
    folder = home / "generations/0000"
    (folder / "solver.onnx").write_bytes(b"no model")
    values = json.loads((folder / "generation.json").read_text("utf-8"))
    values["files"]["solver.onnx"] = vars(fingerprint(b"no model"))
    (folder / "generation.json").write_text(json.dumps(values), "utf-8")
    with pytest.raises(BundleError, match="is no ONNX model"):
        verify_home(home)


@pytest.mark.parametrize("kept", ["inputs-0.rows", "frames-0.npz"])
def test_an_altered_state_of_an_update_in_progress_is_noticed(home, frames, quick, kept):
    with transaction.changing(home) as journal:
        transaction.begin(home, journal, frames, quick, StageRecord())
    verify_home(home)
    path = home / "update" / kept
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(HomeError, match=f"{kept} was altered"):
        verify_home(home)
    path.unlink()
    with pytest.raises(HomeError, match=f"{kept} was altered"):
        verify_home(home)

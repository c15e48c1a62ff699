"""Bundle folders with a manifest, files, labels or signature that nobody honest wrote."""

from __future__ import annotations

import json
import os

import pytest

from reverie.device_runtime.bundle.manifest import MANIFEST, SIGNATURE

INCOMPLETE = "is not a complete manifest"


def edited(change):
    """With the manifest changed in place."""

    def spoil(folder):
        values = json.loads((folder / MANIFEST).read_text("utf-8"))
        change(values)
        (folder / MANIFEST).write_text(json.dumps(values), "utf-8")

    return spoil


def stating(**values):
    return edited(lambda manifest: manifest.update(values))


def naming(**record):
    """With another record of one file."""
    return edited(lambda manifest: manifest["files"]["solver.onnx"].update(record))


def also_naming(*paths):
    return edited(lambda manifest: manifest["files"].update({path: {"sha256": "0" * 64, "size": 1} for path in paths}))


def moved(by):
    """With the place of a weight somewhere else in its file."""

    def change(manifest):
        manifest["tensors"]["solver"]["active"]["offset"] += by

    return edited(change)


def in_place_of(name, make):
    def spoil(folder):
        (folder / name).unlink()
        make(folder / name)

    return spoil


def in_zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def sparse(size):
    def make(path):
        with path.open("wb") as file:
            file.truncate(size)

    return make


def text(content):
    return lambda folder: (folder / MANIFEST).write_bytes(content)


def labels(*names):
    return stating(classes=list(names))


BUNDLES = {
    "a manifest of 20 MB": (text(b'{"format": 1}' + b" " * (20 << 20)), "more than the 16 MB"),
    "a manifest nested deeply": (text(b'{"format":' * 100_000), "is no bundle manifest"),
    "a manifest that is a list": (text(b"[]"), "is no bundle manifest"),
    "a manifest that is no text": (text(b"\xff\xfe{}"), "is no readable manifest"),
    "a number of 5,000 digits": (text(b'{"format": ' + b"1" * 5000 + b"}"), "is no bundle manifest"),
    "no number": (stating(noise_size=float("nan")), INCOMPLETE),
    "an input of 10^12 numbers": (stating(input_shape=[10**6, 10**6, 1]), "is larger than"),
    "a billion classes": (stating(slots=10**9), "is larger than"),
    "an image of 10^10 pixels": (
        edited(lambda m: m["preprocessing"].update(height=10**5, width=10**5)),
        "more than 32,000,000 pixels",
    ),
    "a size that is no number": (naming(size="1"), "a size is no number of bytes"),
    "a negative size": (naming(size=-1), "a size is no number of bytes"),
    "a size of a terabyte": (naming(size=1 << 40), "a size is no number of bytes up to 192 MB"),
    "a hash that is none": (naming(sha256=None), "was altered"),
    "a thousand files": (also_naming(*map(str, range(1000))), "more than 64 files"),
    "an absolute path": (also_naming("/etc/passwd"), "lies outside the bundle"),
    "a path upwards": (also_naming("a/../../b"), "lies outside the bundle"),
    "its own signature": (also_naming(SIGNATURE), "lies outside the bundle"),
    "a weight in the header of its file": (moved(-40), "is not where the manifest says"),
    "a weight beyond its file": (moved(1 << 40), "is not where the manifest says"),
    "a weight before its file": (moved(-(1 << 40)), "is not where the manifest says"),
    "a date that is none": (stating(created="soon"), INCOMPLETE),
    "a family that is none": (stating(family=["a"]), INCOMPLETE),
    "a label with a line break": (labels("a\nb", "c"), "cannot be a label"),
    "a label that writes on the terminal": (labels("a\x1b[2Jb"), "cannot be a label"),
    "a label that turns the line round": (labels("a\u202eb"), "cannot be a label"),
    "a label that leaves its folder": (labels("../a"), "cannot be a label"),
    "a label that is a folder": (labels(".."), "cannot be a label"),
    "a label without end": (labels("a" * 100_000), "cannot be a label"),
    "the same label twice": (labels("a", "a"), "names more than one class"),
    "a pipe": (in_place_of("solver.onnx", os.mkfifo), "lacks solver.onnx"),
    "a pipe as manifest": (in_place_of(MANIFEST, os.mkfifo), "has no readable manifest"),
    "a folder as file": (in_place_of("solver.onnx", os.mkdir), "lacks solver.onnx"),
    "a device": (in_place_of("solver.onnx", lambda path: path.symlink_to("/dev/zero")), "lacks solver.onnx"),
    "a file of a terabyte": (in_place_of("solver.onnx", sparse(1 << 40)), "has more bytes instead of"),
    "a manifest of a terabyte": (in_place_of(MANIFEST, sparse(1 << 40)), "more than the 16 MB"),
    "a signature that is none": (lambda folder: (folder / SIGNATURE).write_bytes(b"short"), "is no signature"),
    "a signature of a terabyte": (lambda folder: sparse(1 << 40)(folder / SIGNATURE), "is no signature"),
    "an altered training graph": (
        lambda folder: in_zeros(folder / "solver_train/training_model.onnx"),
        "training_model.onnx was altered",
    ),
}

SIGNED = {
    "no signature": (lambda folder: (folder / SIGNATURE).unlink(), "is not signed"),
    "zeros as signature": (lambda folder: (folder / SIGNATURE).write_bytes(bytes(64)), "is not signed by the key"),
    "half a signature": (lambda folder: (folder / SIGNATURE).write_bytes(bytes(32)), "is not signed by the key"),
    "a longer signature": (
        lambda folder: (folder / SIGNATURE).write_bytes((folder / SIGNATURE).read_bytes() + b"\0"),
        "is not signed by the key",
    ),
    "an altered manifest": (stating(name="other"), "is not signed by the key"),
    "a manifest with another end of line": (
        lambda folder: (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes() + b"\n"),
        "is not signed by the key",
    ),
    "an altered solver": (
        lambda folder: (folder / "solver.onnx").write_bytes(bytes(408_416)),
        "solver.onnx was altered",
    ),
}


@pytest.fixture(scope="module")
def ended(run_all, spoiled, sign, keys, tmp_path_factory):
    home = tmp_path_factory.mktemp("homes") / "home"
    commands = {
        f"{verb}, {name}": [verb, spoiled(spoil), *(["--home", home] if verb == "install" else [])]
        for name, (spoil, _) in BUNDLES.items()
        for verb in (("install", "verify") if name.startswith("a ") else ("install",))
    }
    for name, (spoil, _) in SIGNED.items():
        folder = spoiled(sign)
        spoil(folder)
        commands[name] = ["install", folder, "--home", home, "--key", keys / "provider.pub"]
    other = spoiled(lambda folder: sign(folder, "somebody"))
    commands["somebody else's"] = ["install", other, "--home", home, "--key", keys / "provider.pub"]
    done = run_all(commands)
    assert not home.exists()
    return done


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_that_nobody_honest_wrote_is_refused(ended, assert_refused, name):
    for verb in ("install", "verify"):
        if f"{verb}, {name}" in ended:
            assert_refused(ended[f"{verb}, {name}"], BUNDLES[name][1])


@pytest.mark.parametrize("name", SIGNED)
def test_what_the_key_did_not_sign_is_refused(ended, assert_refused, name):
    assert_refused(ended[name], SIGNED[name][1])


def test_what_somebody_else_signed_is_refused(ended, assert_refused):
    assert_refused(ended["somebody else's"], "is not signed by the key")


BAD_KEYS = {
    "nothing": b"",
    "text": b"no key",
    "a key of another kind": b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYI\n-----END PUBLIC KEY-----\n",
    "a long file": b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 100_000,
}


@pytest.fixture(scope="module")
def with_bad_keys(run_all, bundle, keys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad-keys")
    commands = {}
    for name, content in BAD_KEYS.items():
        (folder / name).write_bytes(content)
        commands[name] = ["verify", bundle, "--key", folder / name]
    commands["a private key"] = ["verify", bundle, "--key", keys / "provider"]
    os.mkfifo(folder / "pipe")
    commands["a pipe"] = ["verify", bundle, "--key", folder / "pipe"]
    return run_all(commands)


@pytest.mark.parametrize("name", [*BAD_KEYS, "a private key"])
def test_a_key_that_is_none_is_refused(with_bad_keys, assert_refused, name):
    assert_refused(with_bad_keys[name], "holds no public Ed25519 key")


def test_a_key_that_is_a_pipe_is_refused(with_bad_keys, assert_refused):
    assert_refused(with_bad_keys["a pipe"], "cannot read the key")

"""What is sealed comes back whole with the right key and name, and not at all otherwise."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.changes import installation
from reverie.device_runtime.errors import HomeError
from reverie.device_runtime.home import sealing

KEY = bytes(range(32))
sizes = st.sampled_from([0, 1, 99, 1000]) | st.integers(0, 3000)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(sealing, "CHUNK", 1000)


@pytest.fixture(scope="module")
def seal(tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "file"

    def write(content, name="frames/1/a", pieces=1):
        def fill(file):
            for part in np.array_split(np.frombuffer(content, np.uint8), pieces):
                file.write(part.tobytes())

        sealing.write(path, KEY, name, fill)
        return path.read_bytes()

    return write


@given(sizes, st.integers(1, 5))
def test_content_of_any_size_written_in_any_pieces_comes_back(seal, size, pieces):
    content = np.random.default_rng(size).bytes(size)
    sealed = seal(content, pieces=pieces)
    assert sealing.unseal(sealed, KEY, "frames/1/a") == content
    assert size < 20 or content[:20] not in sealed
    assert seal(content) != sealed  # no two files are sealed alike


@given(st.integers(0, 2500), st.data())
def test_whatever_is_altered_cut_or_swapped_is_refused(seal, size, data):
    sealed = seal(bytes(size))
    at = data.draw(st.integers(0, len(sealed) - 1))
    altered = [
        sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :],
        sealed[:at],
        sealed + b"\0",
        sealed[: len(sealing.SIGN) + 32] + sealed[len(sealing.SIGN) + 32 + 1016 :],
    ]
    for content in altered:
        if content != sealed and content[: len(sealing.SIGN)] == sealing.SIGN:
            with pytest.raises(HomeError, match="altered or sealed with another key"):
                sealing.unseal(content, KEY, "frames/1/a")
    for key, name in ((KEY[::-1], "frames/1/a"), (KEY, "frames/1/b")):
        with pytest.raises(HomeError, match="altered or sealed with another key"):
            sealing.unseal(sealed, key, name)


def test_a_key_is_private_kept_where_it_is_and_made_anew_only_where_nothing_is_sealed(bundle, tmp_path):
    installation.install(bundle, tmp_path / "home", sealing_key=str(tmp_path / "key"))
    path = tmp_path / "key"
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    key = sealing.reading_key(tmp_path / "home")
    installation.install(bundle, tmp_path / "other", sealing_key=str(path))
    assert sealing.reading_key(tmp_path / "other") == key
    path.unlink()
    with pytest.raises(HomeError, match="put back the key"):
        sealing.writing_key(tmp_path / "home", in_use=True)
    assert sealing.writing_key(tmp_path / "home", in_use=False) not in {key, None}
    path.write_text("no key", encoding="ascii")
    with pytest.raises(HomeError, match="no key"):
        sealing.reading_key(tmp_path / "home")


def test_a_home_that_is_not_encrypted_never_imports_cryptography(installed):
    code = (
        "import sys; from pathlib import Path; from reverie.device_runtime.changes import gathering, purge;"
        "from reverie.device_runtime.home import sealing;"
        f"assert sealing.reading_key(Path({str(installed)!r})) is None; assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Rows in a file answer as the array would that holds them, and say so when the file does not hold them any more."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverie.device_runtime.errors import HomeError, StorageError
from reverie.device_runtime.home import disk
from reverie.device_runtime.home.row_files import RowFile, Scratch

ROWS = 20
numbers = st.integers(-ROWS, ROWS - 1)
indexes = st.one_of(
    numbers,
    st.slices(ROWS),
    st.lists(numbers).map(lambda found: np.array(found, np.int64)),
    st.lists(numbers, min_size=4, max_size=4).map(lambda found: np.array(found).reshape(2, 2)),
    st.lists(st.booleans(), min_size=ROWS, max_size=ROWS).map(np.array),
)


def random_rows(dtype=np.float32):
    return np.random.default_rng(0).integers(0, 256, (ROWS, 3, 2)).astype(dtype)


@pytest.fixture
def scratch(box):
    """Rows that were added in three parts, to a plain and to an encrypted home, and the array of them."""
    array = random_rows()
    rows = Scratch(box, array.shape[1:])
    for part in np.array_split(array, [5, 6]):
        rows.append(part)
    return rows, array


def test_every_index_gives_what_it_gives_of_an_array(scratch):
    rows, array = scratch

    @given(indexes)
    def same(at):
        np.testing.assert_array_equal(rows[at], array[at])
        assert rows[at].shape == array[at].shape

    same()
    assert rows.shape == array.shape
    assert len(rows) == ROWS


def test_rows_keep_their_type(box):
    array = random_rows(np.uint8)
    rows = Scratch(box, array.shape[1:], np.uint8)
    rows.append(array)
    assert rows[:].dtype == np.uint8
    np.testing.assert_array_equal(rows[:], array)


@pytest.mark.parametrize("number", [ROWS, -ROWS - 1])
def test_a_row_that_is_not_there_is_an_index_error(scratch, number):
    rows, _ = scratch
    with pytest.raises(IndexError, match=rf"of {ROWS}|out of bounds"):
        rows[np.array([number])]


def test_scratch_rows_have_no_name_on_the_disk_and_are_gone_with_the_process(box):
    before = sorted(box.rglob("*"))
    code = (
        "import os, sys; from pathlib import Path; import numpy as np\n"
        "from reverie.device_runtime.home.row_files import Scratch\n"
        "rows = Scratch(Path(sys.argv[1]), (1000,)); rows.append(np.ones((100, 1000)))\n"
        "print(sorted(map(str, Path(sys.argv[1]).rglob('*')))); os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", code, box], check=False, capture_output=True, text=True)
    assert run.stdout.strip() == str([str(path) for path in before])
    assert sorted(box.rglob("*")) == before


def test_rows_of_a_file_that_was_cut_short_are_an_error_in_words(tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(random_rows().tobytes()[:-1])
    rows = RowFile(path.open("rb"), path, (ROWS, 3, 2), np.float32)
    np.testing.assert_array_equal(rows[:-1], random_rows()[:-1])
    with pytest.raises(StorageError, match=r"cannot read .*rows \(it was cut short\): check the disk"):
        rows[-1]


@pytest.mark.parametrize("box", ["sealed"], indirect=True)
def test_a_sealed_row_that_was_altered_or_moved_is_refused(box):
    rows = Scratch(box, (8,))
    rows.append(np.zeros((2, 8)))
    stored = os.fstat(rows._descriptor).st_size // 2
    first = os.pread(rows._descriptor, stored, 0)
    assert bytes(32) not in first  # zeros are not to be seen on the disk
    os.pwrite(rows._descriptor, first, stored)
    with pytest.raises(HomeError):
        rows[1]
    os.pwrite(rows._descriptor, bytes([first[0] ^ 1]), 0)
    with pytest.raises(HomeError):
        rows[0]


def test_a_disk_without_room_is_an_error_in_words(tmp_path):
    code = (
        "import resource, signal, sys; from pathlib import Path; import numpy as np\n"
        "from reverie.device_runtime.errors import StorageError\n"
        "from reverie.device_runtime.home.row_files import Scratch\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "rows = Scratch(Path(sys.argv[1]), (100,))\n"
        "try: rows.append(np.ones((100, 100)))\n"
        "except StorageError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    assert str(tmp_path) in run.stdout


def test_rows_after_a_write_that_failed_in_the_middle_are_where_they_belong(box, monkeypatch):
    array = random_rows()
    rows = Scratch(box, array.shape[1:])
    rows.append(array[:4])

    def full(file, content):
        file.write(content[:7])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(disk, "add", full)
        with pytest.raises(StorageError, match="no space left"):
            rows.append(array[4:9])
    rows.append(array[9:12])
    np.testing.assert_array_equal(rows[:], np.concatenate([array[:4], array[9:12]]))

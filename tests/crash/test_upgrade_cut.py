"""A newer bundle installed over an older one: killed at any operation or on a disk that fails, all old or all new."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from crash_support import Failing, Snapshots, check_whole, counted, entries

from reverie.device_runtime.changes import transaction
from reverie.device_runtime.changes.upgrade import install
from reverie.device_runtime.changes.verification import verify_home
from reverie.device_runtime.errors import StorageError
from reverie.device_runtime.home import disk, store

OLD, NEW = {"0000"}, {"0000", "0001"}


@pytest.fixture(scope="module")
def newer(bundle, edit_manifest, sign, tmp_path_factory):
    """A newer bundle of the same family, signed."""
    folder = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("newer") / "bundle"))
    edit_manifest(folder, created="2026-02-01T00:00:00+00:00")
    sign(folder)
    return folder


@pytest.fixture(scope="module")
def key(keys):
    return (keys / "provider.pub").read_bytes()


def settled(home):
    """What serves after the next command, once all that is left is whole and nothing was left over."""
    with transaction.changing(home) as journal:
        events = [entry.event for entry in journal.audit_log()]
    serving = check_whole(home)
    assert events[-1] in {"installed", "installation undone"}
    names = set(store.generations(home))
    assert names == (OLD if serving == "0000" else NEW)
    assert len(list((home / "bundles").iterdir())) == len(names)
    assert not list(home.rglob(".*"))
    return serving


def test_killed_at_any_operation_it_is_all_old_or_all_new(home, newer, key, fast_folder):
    snapshots = Snapshots(home, fast_folder / "snapshots")
    with disk.watched(snapshots):
        install(newer, home, key)
    expected = entries(home)
    serving = []
    for _, copy in snapshots.taken:
        serving.append(settled(copy))
        if serving[-1] == "0000":
            assert install(newer, copy, key).name == "0001"
        assert entries(copy) == expected
        assert verify_home(copy).key is not None
    assert sorted(serving) == serving
    assert set(serving) == {"0000", "0001"}


@pytest.mark.parametrize(
    ("kinds", "code", "lasting", "says"),
    [
        pytest.param("create write mkdir rename commit", errno.ENOSPC, True, "no space left", id="full from one on"),
        pytest.param("sync", errno.EIO, False, "Input/output error", id="one sync fails"),
    ],
)
def test_on_a_failing_disk_the_service_is_unchanged_and_the_next_one_succeeds(
    home, newer, key, fast_folder, kinds, code, lasting, says
):
    with counted() as operations:
        install(newer, shutil.copytree(home, fast_folder / "counting"), key)
    failed = []
    for at in range(1, 1 + sum(operation.kind in kinds.split() for operation in operations)):
        box = Path(shutil.copytree(home, fast_folder / "box"))
        said = None
        try:
            with disk.watched(Failing(kinds, at, code, lasting=lasting)):
                install(newer, box, key)
        except StorageError as error:
            said = str(error)
        failed.append(said is not None)
        if said is not None:
            assert says in said
            assert "\n" not in said
            assert check_whole(box) == "0000"
        assert settled(box) == ("0000" if failed[-1] else "0001")
        if failed[-1]:
            assert install(newer, box, key).name == "0001"
        shutil.rmtree(box)
    assert failed == sorted(failed, reverse=True)
    assert sum(failed) > 0.6 * len(failed)

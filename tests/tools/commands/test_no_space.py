"""A full disk: one clear line, nothing left behind, and what was in service stays in service."""

from __future__ import annotations

import errno
import shutil
import subprocess

import pytest
from crash_support import Failing
from judged import serves

from reverie.device_runtime.home import disk, store


@pytest.fixture
def small_disk(tmp_path):
    """size → a file system of that size; needs root, as in most containers."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size):
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("mounting a small disk needs root")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True, check=False)


def refused(done, says):
    assert done.code == 1, done
    assert len(done.err.splitlines()) == 1, done.err
    assert says in done.err


def test_a_disk_too_small_for_the_bundle_stays_empty(reverie, bundle, small_disk, tree):
    disk = small_disk("3m")
    before = tree(disk)
    refused(reverie("install", bundle, "--home", disk / "home"), says="no space left")
    assert tree(disk) == before


def test_an_empty_disk_can_itself_become_the_home(reverie, bundle, small_disk):
    """A data partition is usually mounted where the home shall be."""
    disk = small_disk("30m")
    done = reverie("install", bundle, "--home", disk)
    assert done.code == 0, done
    assert store.current(disk) == "0000"


def test_the_current_directory_can_become_the_home(reverie, bundle, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = reverie("install", bundle, "--home", ".")
    assert done.code == 0, done
    assert store.current(tmp_path / "here") == "0000"


def test_an_empty_directory_that_could_not_become_the_home_is_still_there(reverie, bundle, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with disk.watched(Failing("sync", 1, errno.ENOSPC, lasting=True)):
        refused(reverie("install", bundle, "--home", home), says="no space left")
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert list(home.iterdir()) == []


def test_a_full_disk_refuses_an_update_before_any_work(reverie, home, small_disk, frames_folder, tree):
    disk = small_disk("12m")
    own = shutil.copytree(home, disk / "home")
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - (1 << 20)))
    before = tree(disk)
    done = reverie("update", "--frames", frames_folder, "--home", own)
    refused(done, says="no space left for a new generation")
    assert "fine-tune" not in done.out
    assert tree(disk) == before


def test_too_little_free_space_refuses_an_update_before_any_work(reverie, home, frames_folder, tree, monkeypatch):
    """The same for those who cannot mount."""
    free = shutil.disk_usage(home)._replace(free=1 << 20)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _path: free)
    before = tree(home)
    done = reverie("update", "--frames", frames_folder, "--home", home)
    refused(done, says="no space left for a new generation")
    assert "fine-tune" not in done.out
    assert tree(home) == before


def test_a_disk_that_fills_up_during_the_update_leaves_the_old_generation_in_service(
    home, small_disk, models, tree, updated
):
    disk = small_disk("12m")
    own = shutil.copytree(home, disk / "home")
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - (1 << 20)))
    before = tree(disk)
    with pytest.raises(store.StorageError, match="no space left"):
        store.add_generation(own, store.read_generation(own), updated.models, serves(updated.report.to_json()))
    assert tree(disk) == before
    assert store.read_generation(own).classes == models.classes

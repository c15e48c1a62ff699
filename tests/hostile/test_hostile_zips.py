"""Zip files that are no bundle, or more than one."""

from __future__ import annotations

import io
import json
import shutil
import stat
import struct
import warnings
import zipfile

import pytest

from reverie.device_runtime.bundle.manifest import MANIFEST

DAMAGED = "is no readable zip of a bundle"
NOT_STORED = "is no regular file stored as it is"
NOT_NAMED = "which its manifest does not name"
END = b"PK\x05\x06"
LISTED = b"PK\x01\x02"


def packed(bundle, change=lambda _zip: None, leave=(), **how):
    """The bundle as zip, with what `change` adds; `how` is given to each member."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as written:
        for path in sorted(p for p in bundle.rglob("*") if p.is_file()):
            name = path.relative_to(bundle).as_posix()
            if name not in leave:
                written.writestr(zipfile.ZipInfo(name), path.read_bytes(), **how)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            change(written)
    return content.getvalue()


def adding(name, content=b"x", mode=stat.S_IFREG | 0o644):
    def add(written):
        member = zipfile.ZipInfo("placeholder")
        member.filename = name
        member.external_attr = mode << 16
        written.writestr(member, content)

    return lambda bundle: packed(bundle, add)


def patched(mark, offset, form, value, last=True):
    """With one number of the list or the end record replaced."""

    def change(bundle):
        content = bytearray(packed(bundle))
        at = content.rindex(mark) if last else content.index(mark)
        struct.pack_into(form, content, at + offset, value)
        return bytes(content)

    return change


def large(bundle):
    """With the record that says: the real list is elsewhere, and long."""
    content = packed(bundle)
    at = content.rindex(END)
    return content[:at] + b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1) + content[at:]


def overlapping(bundle):
    """All members are the same bytes: a small file that unpacks to a large one."""
    content = bytearray(packed(bundle))
    first = content.index(LISTED)
    size, start = struct.unpack_from("<I", content, first + 24)[0], struct.unpack_from("<I", content, first + 42)[0]
    at = first
    while (at := content.find(LISTED, at + 1)) >= 0:
        struct.pack_into("<II", content, at + 20, size * 100, size * 100)
        struct.pack_into("<I", content, at + 42, start)
    return bytes(content)


def other_name_inside(bundle):
    """The list says manifest.json, the member itself has another name."""
    content = packed(bundle)
    return content.replace(MANIFEST.encode(), b"malicious.son", 1)


def deflated(bundle):
    return packed(bundle, compress_type=zipfile.ZIP_DEFLATED)


def bomb(bundle):
    return packed(bundle, lambda z: z.writestr("big", bytes(64 << 20), zipfile.ZIP_DEFLATED))


def altered(bundle):
    content = bytearray(packed(bundle))
    content[content.index(b"solver.onnx") + 5000] ^= 1
    return bytes(content)


def crowded(bundle):
    return packed(bundle, lambda z: [z.writestr(f"f{at}", b"") for at in range(5000)])


def twice(bundle):
    return packed(bundle, lambda z: z.writestr(MANIFEST, json.dumps({"format": 1})))


def within(bundle):
    return packed(bundle, lambda z: z.writestr("bundle.zip", packed(bundle)))


ZIPS = {
    "an absolute path": (adding("/etc/cron.d/x"), NOT_NAMED),
    "a path upwards": (adding("../../home/x"), NOT_NAMED),
    "a Windows path": (adding("..\\x"), NOT_NAMED),
    "a link": (adding("link", b"/etc/passwd", stat.S_IFLNK | 0o777), NOT_STORED),
    "a device": (adding("device", b"", stat.S_IFCHR | 0o666), NOT_STORED),
    "a folder": (adding("folder/", b"", stat.S_IFDIR | 0o755), NOT_STORED),
    "a name with a zero in it": (adding("solver.onnx\0.png"), NOT_STORED),
    "a file too many": (adding("run-me.py"), NOT_NAMED),
    "a zip in the zip": (within, NOT_NAMED),
    "two manifests": (twice, "holds two files of one name"),
    "compression": (deflated, NOT_STORED),
    "a bomb": (bomb, NOT_STORED),
    "members on top of each other": (overlapping, DAMAGED),
    "five thousand members": (crowded, DAMAGED),
    "encryption": (patched(LISTED, 8, "<H", 1), NOT_STORED),
    "an unknown method": (patched(LISTED, 10, "<H", 99), NOT_STORED),
    "a list that is somewhere else": (patched(END, 16, "<I", 1 << 31), DAMAGED),
    "a list of 4 GB": (patched(END, 12, "<I", 0xFFFFFFF0), DAMAGED),
    "a count that is not right": (patched(END, 10, "<H", 0xFFFF), DAMAGED),
    "a comment": (lambda bundle: packed(bundle, lambda z: setattr(z, "comment", b"x" * 1000)), DAMAGED),
    "more after its end": (lambda bundle: packed(bundle) + b"more", DAMAGED),
    "a second end": (large, DAMAGED),
    "another name inside": (other_name_inside, DAMAGED),
    "a size that is not right": (patched(LISTED, 24, "<I", 1 << 30), NOT_STORED),
    "an altered byte": (altered, DAMAGED),
    "half of it": (lambda bundle: packed(bundle)[:-100_000], DAMAGED),
    "nothing": (lambda _bundle: b"", DAMAGED),
    "text": (lambda _bundle: b"no zip " * 100, DAMAGED),
    "only its end": (lambda bundle: packed(bundle)[-22:], DAMAGED),
    "an empty list": (lambda _bundle: END + bytes(18), "has no readable manifest.json"),
    "no manifest": (lambda bundle: packed(bundle, leave=[MANIFEST]), "has no readable manifest.json"),
    "no solver": (lambda bundle: packed(bundle, leave=["solver.onnx"]), "lacks solver.onnx"),
}


@pytest.fixture(scope="module")
def ended(run_all, bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zips")
    commands = {}
    for at, (name, (make, _)) in enumerate(ZIPS.items()):
        path = folder / f"{at}.zip"
        path.write_bytes(make(bundle))
        for verb in ("install", "verify"):
            commands[f"{verb}, {name}"] = [verb, path, *(["--home", folder / "home"] if verb == "install" else [])]
    done = run_all(commands)
    assert not (folder / "home").exists()
    shutil.rmtree(folder)
    return done


@pytest.mark.parametrize("verb", ["install", "verify"])
@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_that_is_no_bundle_is_refused(ended, assert_refused, name, verb):
    assert_refused(ended[f"{verb}, {name}"], ZIPS[name][1])

"""What commands write for their users: whole or not at all, and where the user said."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from reverie.tools.output_file import replace_output


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    replace_output(output, "first")
    with pytest.raises(UnicodeEncodeError):
        replace_output(output, "second \ud800")  # half of a surrogate pair: no UTF-8
    assert output.read_text(encoding="utf-8") == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder does not exist") as refused:
        replace_output(tmp_path / "missing" / "figures.json", "first")
    assert refused.value.filename == str(tmp_path / "missing")


def test_pictures_are_replaced_whole_as_text_is(tmp_path: Path) -> None:
    output = tmp_path / "picture.png"
    output.write_bytes(b"a longer one of before")
    replace_output(output, b"\x89PNG")
    assert output.read_bytes() == b"\x89PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_link_stays_and_leads_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    target, link = tmp_path / "kept" / "figures.json", tmp_path / "link.json"
    target.write_text("first", encoding="utf-8")
    link.symlink_to(target)
    replace_output(link, "second")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "second"


def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    replace_output(pipe, "figures")
    reader.join()
    assert got == ["figures"]
    assert pipe.is_fifo()

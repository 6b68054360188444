"""Files are written whole or not at all."""

import os
from pathlib import Path

import pytest

from common.files import write_whole


def test_text_is_written_as_utf_8_and_bytes_as_they_are(tmp_path):
    write_whole(tmp_path / "text", "98 → 99 %\n")
    write_whole(tmp_path / "bytes", b"\x89PNG\r\n")
    assert (tmp_path / "text").read_bytes() == b"98 \xe2\x86\x92 99 %\n"
    assert (tmp_path / "bytes").read_bytes() == b"\x89PNG\r\n"


def test_folders_are_made_on_the_way_and_nothing_is_left_beside_the_file(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    for content in ("old", "new"):
        write_whole(path, content)
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", [(os, "fsync"), (Path, "replace")], ids=["the content", "the rename"])
def test_where_a_write_is_cut_off_the_old_content_stays_alone(step, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    path = tmp_path / "file"
    write_whole(path, "old")
    monkeypatch.setattr(*step, fail)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

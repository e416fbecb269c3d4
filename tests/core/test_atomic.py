"""Files that are there whole or not at all, on a disk that is full."""

from __future__ import annotations

import errno
import io
import os

import pytest

from llava_v2xum.core import atomic
from llava_v2xum.core.atomic import DiskFullError, append_line, for_people, replacing, write_whole

pytestmark = pytest.mark.every_python


def test_a_full_disk_is_told_with_its_folder_and_its_space(tmp_path):
    (tmp_path / "out.txt").write_text("of before")
    with pytest.raises(DiskFullError) as caught, replacing(tmp_path / "out.txt") as part:
        part.write_bytes(bytes(70_000))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: the disk is full: more than 70.0 kB are needed for the next file, and ")
    assert message.endswith(" are free") and "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "of before"


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(PermissionError), replacing(tmp_path / "out.txt"):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "out.txt", "text")
    assert not list(tmp_path.iterdir())


def test_nothing_of_a_line_stays_that_does_not_fit(tmp_path, monkeypatch):
    class Full(io.FileIO):
        """Takes ten bytes and no more, as a disk does that is full then."""

        room = 10

        def write(self, data):
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken, self.room = data[: self.room], 0
            return super().write(taken)

    file = tmp_path / "lines.jsonl"
    append_line(file, "first")
    monkeypatch.setattr(atomic, "open", lambda path, mode, buffering: Full(path, mode.replace("b", "")), raising=False)
    with pytest.raises(DiskFullError, match="the disk is full: 22 bytes are needed"):
        append_line(file, "second, which is long")
    assert file.read_text() == "first\n"
    monkeypatch.undo()
    append_line(file, "third")
    assert file.read_text() == "first\nthird\n"


@pytest.mark.parametrize(("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")])
def test_sizes_for_people(size, text):
    assert for_people(size) == text

"""The files of recordings: few, private, and an error that names what cannot be written."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshp2p.errors import StoreError
from meshp2p.store.directory import DataDirectory
from meshp2p.store.recordings import RECORDINGS_MAX, RecordingFiles


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[DataDirectory]:
    opened = DataDirectory(tmp_path / "data")
    yield opened
    opened.close()


def test_the_newest_files_are_kept_and_only_the_user_may_read_them(directory: DataDirectory) -> None:
    files = RecordingFiles(directory)
    names = [f"{number:03}-death.recording" for number in range(RECORDINGS_MAX + 3)]
    for name in names:
        files.save(name, name.encode())
    found = sorted((directory.path / "recordings").iterdir())
    assert [path.name for path in found] == names[3:]
    assert [path.read_bytes() for path in found] == [name.encode() for name in names[3:]]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_one_that_cannot_be_written_is_named(directory: DataDirectory) -> None:
    (directory.path / "recordings").write_text("not a directory")
    with pytest.raises(StoreError, match=r"recordings/x\.recording' cannot be written: "):
        RecordingFiles(directory).save("x.recording", b"")


def test_nothing_is_written_into_a_directory_that_was_replaced(directory: DataDirectory) -> None:
    directory.path.rename(directory.path.with_name("other"))
    directory.path.mkdir()
    with pytest.raises(StoreError, match="was removed or replaced"):
        RecordingFiles(directory).save("x.recording", b"")
    assert not list(directory.path.iterdir())

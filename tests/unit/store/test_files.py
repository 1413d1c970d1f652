"""The fake file system and the real one behave alike; the crash tests rest on that."""

from pathlib import Path

import pytest

from relay.base.errors import StateLockedError
from relay.store.files import OS_FILES, FileLayer
from tests.fakes.files import MemoryFiles


@pytest.fixture(params=["real", "fake"])
def files(request: pytest.FixtureRequest) -> FileLayer:
    return OS_FILES if request.param == "real" else MemoryFiles()


def test_files_are_made_written_read_renamed_and_removed(files: FileLayer, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    files.make_folder(folder)
    files.make_folder(folder)
    with pytest.raises(FileNotFoundError):
        files.open(folder / "a")
    file = files.open(folder / "a", create=True)
    file.write(b"hello", 0)
    file.write(b"world", 8)
    file.sync()
    assert file.size_bytes() == 13
    assert file.read(100, 3) == b"lo\0\0\0world"
    file.close()
    files.rename(folder / "a", folder / "b")
    files.sync_folder(folder)
    assert not files.exists(folder / "a")
    assert files.names(folder) == ["b"]
    files.remove(folder / "b")
    files.remove(folder / "b")
    assert files.names(folder) == []


def test_one_folder_has_one_holder(files: FileLayer, tmp_path: Path) -> None:
    with files.lock(tmp_path), pytest.raises(StateLockedError), files.lock(tmp_path):
        pass
    with files.lock(tmp_path):
        pass

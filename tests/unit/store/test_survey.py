from pathlib import Path

from relay.store.frame import BLOCK_BYTES, seal
from relay.store.survey import survey_roots, survey_segments
from tests.fakes.files import MemoryFiles

FOLDER = Path("/state/journal")
KEY = bytes(32)


def write(files: MemoryFiles, name: str, data: bytes) -> None:
    file = files.open(FOLDER / name, create=True)
    file.write(data, 0)
    file.close()


def test_headers_tell_use_and_commits_without_a_key() -> None:
    files = MemoryFiles()
    files.make_folder(FOLDER)
    old = seal(b"old", KEY, use=3, sequence=9, part=0, parts=1)
    new = [seal(b"new", KEY, use=4, sequence=sequence, part=0, parts=1) for sequence in (20, 21)]
    write(files, "segment-00", b"".join(new) + bytes(BLOCK_BYTES) + old)
    write(files, "segment-01", bytes(4 * BLOCK_BYTES))
    first, second = survey_segments(files, FOLDER)
    assert (first.name, first.frames, first.use, first.first, first.last) == ("segment-00", 3, 4, 20, 21)
    assert (first.size_bytes, first.unreadable) == (4 * BLOCK_BYTES, 0)
    assert (second.frames, second.use) == (0, 0)


def test_where_there_is_nothing_that_is_said() -> None:
    files = MemoryFiles()
    assert survey_segments(files, FOLDER) == []
    assert set(survey_roots(files, FOLDER).values()) == {"missing or unreadable"}
    files.make_folder(FOLDER)
    write(files, "root.a", b"x" * 4096)
    assert survey_roots(files, FOLDER)["root.a"] == "no root page"

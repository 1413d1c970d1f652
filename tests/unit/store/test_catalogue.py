from pathlib import Path

import pytest

from relay.store.catalogue import FILE_NAME, Catalogue, keep_catalogue, read_catalogue, write_catalogue
from relay.store.chunks import Chunk, Digests, Picture
from tests.fakes.files import MemoryFiles

FOLDER, KEY = Path("/state"), b"i" * 32
RANGE = Chunk("events", None, None, b"", 1 << 63)


def made(number: int = 3) -> Catalogue:
    picture, digests = Picture(b"c" * 16), Digests()
    digests.add(RANGE)
    picture.replace(digests)
    return Catalogue(b"b" * 16, number, 1_800_000_000_000, picture, frozenset({"00" * 16, "f3" * 16}))


def test_a_kept_catalogue_is_found_again() -> None:
    files = MemoryFiles()
    assert read_catalogue(FOLDER, KEY, files) is None
    write_catalogue(FOLDER, KEY, made(), files)
    keep_catalogue(FOLDER, b"b" * 16, files)
    found = read_catalogue(FOLDER, KEY, files)
    assert found is not None
    assert (found.backup_id, found.number, found.made_ms, found.media) == (
        b"b" * 16,
        3,
        1_800_000_000_000,
        made().media,
    )
    assert found.picture.holds(RANGE)


def test_until_a_backup_is_kept_the_one_before_it_is_the_last() -> None:
    files = MemoryFiles()
    write_catalogue(FOLDER, KEY, made(1), files)
    keep_catalogue(FOLDER, b"b" * 16, files)
    write_catalogue(FOLDER, KEY, made(2), files)
    found = read_catalogue(FOLDER, KEY, files)
    assert found is not None
    assert found.number == 1
    assert len(files.names(FOLDER)) == 2
    keep_catalogue(FOLDER, b"another" * 2, files)
    assert len(files.names(FOLDER)) == 2
    write_catalogue(FOLDER, KEY, made(3), files)
    assert len(files.names(FOLDER)) == 2


@pytest.mark.parametrize("place", [0, 10, 40, -1])
def test_a_garbled_one_and_another_boxs_count_as_none(place: int) -> None:
    files = MemoryFiles()
    write_catalogue(FOLDER, KEY, made(), files)
    keep_catalogue(FOLDER, b"b" * 16, files)
    assert read_catalogue(FOLDER, b"o" * 32, files) is None
    files.contents[str(FOLDER / FILE_NAME)][place] ^= 1
    assert read_catalogue(FOLDER, KEY, files) is None
    files.contents[str(FOLDER / FILE_NAME)][:] = b""
    assert read_catalogue(FOLDER, KEY, files) is None

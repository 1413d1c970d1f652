from pathlib import Path

import pytest

from relay.base.errors import DamagedError, NotFoundError, QueueFullError, TooLargeError
from relay.store.media_files import CHUNK_BYTES, MediaFiles, SealedFile
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import InlineWorkers

FOLDER = Path("/state/media")


def make(files: MemoryFiles, quota_bytes: int = 1 << 30) -> MediaFiles:
    return MediaFiles(FOLDER, quota_bytes=quota_bytes, files=files, workers=InlineWorkers())


async def store(media: MediaFiles, content: bytes, piece_bytes: int = 10_000) -> SealedFile:
    async with media.receive(1 << 20) as writer:
        for start in range(0, len(content), piece_bytes):
            await writer.write(content[start : start + piece_bytes])
        return await writer.keep()


async def read(media: MediaFiles, file: SealedFile, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in media.read(file, start, end)])


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
async def test_a_file_comes_back_as_it_went_in(size: int) -> None:
    media = make(MemoryFiles())
    content = bytes(number % 251 for number in range(size))
    file = await store(media, content)
    assert file.size_bytes == size
    assert await read(media, file) == content


async def test_a_range_comes_back_without_the_rest() -> None:
    media = make(MemoryFiles())
    content = bytes(number % 251 for number in range(200_000))
    file = await store(media, content, piece_bytes=150_000)
    for start, end in ((0, 1), (65_535, 65_537), (199_999, 300_000), (70_000, 70_000), (131_072, 200_000)):
        assert await read(media, file, start, end) == content[start:end]


async def test_nothing_readable_lies_on_flash_and_the_key_is_no_part_of_it() -> None:
    files = MemoryFiles()
    file = await store(make(files), b"holiday " * 1_000)
    (sealed,) = (bytes(content) for path, content in files.contents.items() if path.startswith(str(FOLDER)))
    assert b"holiday" not in sealed
    assert file.key not in sealed


async def test_a_file_not_kept_leaves_nothing() -> None:
    files = MemoryFiles()
    media = make(files)
    with pytest.raises(TooLargeError):
        async with media.receive(100) as writer:
            await writer.write(b"x" * 101)
    assert files.names(FOLDER) == []


async def test_a_full_quota_takes_no_more_until_something_goes() -> None:
    media = make(MemoryFiles(), quota_bytes=100_000)
    file = await store(media, b"x" * 99_000)
    with pytest.raises(TooLargeError):
        await store(media, b"x" * 2_000)
    await store(media, b"x" * 1_000)
    with pytest.raises(QueueFullError):
        await store(media, b"x")
    await media.delete(file.file_id)
    await store(media, b"x" * 50_000)


async def test_a_sweep_removes_what_no_row_names_and_counts_the_rest() -> None:
    files = MemoryFiles()
    media = make(files)
    kept, orphan = await store(media, b"a" * 1_000), await store(media, b"b")
    files.open(FOLDER / "cut-off.part", create=True)
    again = make(files)
    assert await again.sweep({kept.file_id}) == 2
    assert files.names(FOLDER) == [kept.file_id]
    assert again.used_bytes > 1_000
    with pytest.raises(NotFoundError):
        await read(again, orphan)


@pytest.mark.parametrize("damage", ["flip", "cut", "swap"])
async def test_a_damaged_file_is_said_to_be_damaged(damage: str) -> None:
    files = MemoryFiles()
    media = make(files)
    file = await store(media, bytes(100_000))
    content = files.contents[str(FOLDER / file.file_id)]
    match damage:
        case "flip":
            content[70_000] ^= 1
        case "cut":
            del content[CHUNK_BYTES + 16 :]
        case _:
            content[:1000], content[1000:2000] = content[1000:2000], content[:1000]
    with pytest.raises(DamagedError):
        await read(media, file)

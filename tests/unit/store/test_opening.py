"""A damaged state folder: the box opens to read, says what is wrong and where, and changes nothing on flash."""

import contextlib
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.base.errors import DamagedError, NewerFormatError, StorageError
from relay.store.faults import IndexLostError, IndexMixedError
from relay.store.frame import BLOCK_BYTES
from relay.store.index import Index
from relay.store.ledger import Ledger
from tests.fakes.files import Kind, MemoryFiles
from tests.fakes.ledger import memory_ledger
from tests.unit.store.test_ledger import NOTES, put

pytestmark = pytest.mark.usefixtures("autojump_clock")

JOURNAL = "/state/journal"
LAST = 6


async def written(*, checkpoint_after: int = 2, notes: int = LAST) -> MemoryFiles:
    """Return the files of a box whose power was cut after `notes` notes, one commit each."""
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        for number in range(1, notes + 1):
            await ledger.run(put, number, f"note {number}")
            if number == checkpoint_after:
                await ledger.checkpoint()
        return files.copy()


def notes(index: Index) -> list[int]:
    return [number for (number,) in index.rows("SELECT id FROM notes ORDER BY id")]


@contextlib.asynccontextmanager
async def opened_to_read(files: MemoryFiles) -> AsyncIterator[Ledger]:
    """Open, see that nothing is taken in, and afterwards that no byte of the journal has changed."""
    before = _journal(files)
    async with memory_ledger(NOTES, files=files) as ledger:
        assert not ledger.healthy
        with pytest.raises(StorageError):
            await ledger.run(put, 99, "refused")
        yield ledger
    assert _journal(files) == before


def _journal(files: MemoryFiles) -> dict[str, bytes]:
    return {path: bytes(content) for path, content in files.contents.items() if path.startswith(JOURNAL)}


def segment(files: MemoryFiles) -> bytearray:
    return files.contents[f"{JOURNAL}/segment-00"]


async def test_a_hole_in_the_journal_is_named_and_what_lies_before_it_is_read() -> None:
    files = await written()
    segment(files)[3 * BLOCK_BYTES + 100] ^= 1
    async with opened_to_read(files) as ledger:
        assert await ledger.read(notes) == [1, 2, 3]
        status = ledger.status()
        assert status.fault_code == "storage.journal_hole"
        assert status.fault == "commit 4 of the journal cannot be read: segment 0 from byte 12288 to byte 16384"
        assert ledger.boot > 2**36


async def test_a_hole_that_reaches_the_end_is_seen_by_what_is_left_of_the_frames() -> None:
    files = await written()
    for block in (4, 5):
        segment(files)[block * BLOCK_BYTES + 100] ^= 1
    async with opened_to_read(files) as ledger:
        assert await ledger.read(notes) == [1, 2, 3, 4]
        assert ledger.status().fault.startswith("commit 5 of the journal cannot be read: segment 0 from byte 16384")


async def test_the_last_commit_alone_may_be_one_that_the_power_cut_ended_and_is_mentioned() -> None:
    files = await written()
    segment(files)[5 * BLOCK_BYTES + 100] ^= 1
    async with memory_ledger(NOTES, files=files) as ledger:
        assert ledger.healthy
        assert await ledger.read(notes) == [1, 2, 3, 4, 5]
        assert ledger.status().loose_end == "commit 6 in segment 0 at byte 20480"


@pytest.mark.parametrize("byte", [0, 9, 17])
async def test_a_garbled_header_of_the_last_commit_is_noticed_too(byte: int) -> None:
    files = await written()
    segment(files)[5 * BLOCK_BYTES + byte] ^= 0x55
    async with memory_ledger(NOTES, files=files) as ledger:
        assert ledger.status().loose_end == "commit 6 in segment 0 at byte 20480"


async def test_a_clean_stop_leaves_no_loose_end() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "x")
    async with memory_ledger(NOTES, files=files) as ledger:
        assert (ledger.healthy, ledger.status().loose_end) == (True, "")


@pytest.mark.parametrize("page", ["root.a", "root.b"])
@pytest.mark.parametrize("how", ["garbled", "gone"])
async def test_one_lost_root_page_is_harmless(page: str, how: str) -> None:
    files = await written()
    if how == "gone":
        del files.contents[f"{JOURNAL}/{page}"]
    else:
        files.contents[f"{JOURNAL}/{page}"][100] ^= 1
    async with memory_ledger(NOTES, files=files) as ledger:
        assert (ledger.healthy, ledger.boot) == (True, 2)
        assert await ledger.read(notes) == [1, 2, 3, 4, 5, 6]


async def test_both_root_pages_lost_leave_what_the_index_holds() -> None:
    files = await written()
    for page in ("root.a", "root.b"):
        files.contents[f"{JOURNAL}/{page}"][100] ^= 1
    async with opened_to_read(files) as ledger:
        assert await ledger.read(notes) == [1, 2]
        assert ledger.status().fault_code == "storage.roots_lost"


async def test_root_pages_that_are_both_gone_are_not_made_anew_beside_an_index() -> None:
    files = await written()
    for page in ("root.a", "root.b"):
        del files.contents[f"{JOURNAL}/{page}"]
    for _ in range(2):
        async with opened_to_read(files) as ledger:
            assert ledger.status().fault_code == "storage.roots_lost"


async def test_older_root_pages_are_found_out_by_the_frames_that_they_do_not_know() -> None:
    files = await written()
    older = {page: bytes(files.contents[f"{JOURNAL}/{page}"]) for page in ("root.a", "root.b")}
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 7, "in the next segment")
        cut = files.copy()
    for page, content in older.items():
        cut.contents[f"{JOURNAL}/{page}"][:] = content
    async with opened_to_read(cut) as ledger:
        assert ledger.status().fault_code == "storage.root_old"


@pytest.mark.parametrize("how", ["gone", "short"])
async def test_a_segment_that_is_gone_or_cut_short_is_no_empty_segment(how: str) -> None:
    files = await written()
    if how == "gone":
        del files.contents[f"{JOURNAL}/segment-00"]
    else:
        del segment(files)[3 * BLOCK_BYTES :]
    async with opened_to_read(files) as ledger:
        assert ledger.status().fault_code == "storage.segment_lost"
        assert await ledger.read(notes) == ([1, 2] if how == "gone" else [1, 2, 3])


async def test_a_missing_index_is_made_again_from_a_journal_that_reaches_back_to_the_first_commit() -> None:
    files = await written(checkpoint_after=0)
    for path in ("/state/index.db", "/state/index.db-wal"):
        files.contents.pop(path, None)
    async with memory_ledger(NOTES, files=files) as ledger:
        assert ledger.healthy
        assert await ledger.read(notes) == [1, 2, 3, 4, 5, 6]


async def test_a_missing_index_with_a_recycled_journal_is_not_made_anew() -> None:
    files = await written()
    for path in ("/state/index.db", "/state/index.db-wal"):
        files.contents.pop(path, None)
    for _ in range(2):
        with pytest.raises(IndexLostError, match="begins after commit 2"):
            async with memory_ledger(NOTES, files=files):
                pass


async def test_an_older_index_is_read_and_named() -> None:
    files = await written(checkpoint_after=2, notes=2)
    older = {path: bytes(content) for path, content in files.contents.items() if "index.db" in path}
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 3, "x")
        await ledger.checkpoint()
        cut = files.copy()
    for path in [path for path in cut.contents if "index.db" in path]:
        del cut.contents[path]
    cut.contents |= {path: bytearray(content) for path, content in older.items()}
    async with opened_to_read(cut) as ledger:
        assert ledger.status().fault_code == "storage.index_stale"
        assert 3 not in await ledger.read(notes)


class _CutInCopy(MemoryFiles):
    """Keeps what a cut in the middle of a copy of the log into the database leaves."""

    left: MemoryFiles | None = None
    armed = False

    def before(self, kind: Kind, path: str) -> None:
        if self.armed and kind == "sync" and path.endswith("index.db") and self.left is None:
            self.left = self.copy()


async def test_a_half_made_copy_without_its_log_is_not_taken_for_a_whole_index() -> None:
    files = _CutInCopy()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "x")
        await ledger.checkpoint()
        files.armed = True
        await ledger.run(put, 2, "y")
        await ledger.checkpoint()
    assert files.left is not None
    whole = files.left.copy()
    async with memory_ledger(NOTES, files=whole) as ledger:
        assert await ledger.read(notes) == [1, 2]
    del files.left.contents["/state/index.db-wal"]
    with pytest.raises(IndexMixedError):
        async with memory_ledger(NOTES, files=files.left):
            pass


class _ReadOnlyCard(MemoryFiles):
    def before(self, kind: Kind, path: str) -> None:
        if kind != "read":
            raise OSError(errno.EROFS, "Read-only file system")


async def test_a_file_system_that_takes_no_writes_serves_everything_the_journal_holds() -> None:
    files = await written()
    card = _ReadOnlyCard()
    card.contents = files.contents
    async with opened_to_read(card) as ledger:
        assert await ledger.read(notes) == [1, 2, 3, 4, 5, 6]
        assert "Read-only file system" in ledger.status().fault


async def test_a_journal_of_a_later_release_is_not_opened_at_all() -> None:
    files = await written()
    with pytest.raises(NewerFormatError, match="newer release"):
        async with memory_ledger(files=files):
            pass


async def test_a_garbled_index_is_refused_by_name() -> None:
    files = await written()
    files.contents["/state/index.db"][:4096] = bytes(4096)
    with pytest.raises(DamagedError, match=str(Path("/state/index.db"))):
        async with memory_ledger(NOTES, files=files):
            pass

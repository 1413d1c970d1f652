"""Replay is deterministic: the same journal makes the same tables, row for row."""

from pathlib import Path

import pytest
import trio
import trio.testing

from relay.base.errors import DamagedError, NewerFormatError
from relay.store.index_file import IndexFile
from relay.store.journal import Journal
from relay.store.replay import recover
from relay.store.tables import STORE_TABLES, Tables
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import FOLDER, KEYRING, SEGMENT_BYTES, memory_ledger
from tests.unit.store.test_ledger import NOTES, SEEN, put


def open_recovered(files: MemoryFiles, *tables: Tables) -> tuple[IndexFile, Journal]:
    journal = Journal(files, FOLDER / "journal", KEYRING.journal_key, segments=4, segment_bytes=SEGMENT_BYTES)
    index = IndexFile(FOLDER / "index.db", KEYRING.index_key, (STORE_TABLES, *tables), files)
    recover(journal, index)
    return index, journal


def all_tables(index: IndexFile) -> dict[str, list[tuple[object, ...]]]:
    names = [name for (name,) in index.rows("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return {name: sorted(index.rows(f'SELECT * FROM "{name}"')) for name in names if name != "applied"}


async def test_two_replays_and_the_running_index_agree_in_every_table(autojump_clock: trio.testing.MockClock) -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        for number in range(30):
            await ledger.run(put, number, f"note {number}")
            await ledger.run(lambda change, name: change.intern(name), f"@user{number % 5}:example")
            await ledger.run(lambda change, note: change.write(SEEN, note, note), number)
        await ledger.run(put, 1000, "the last one takes the lazy ones along")
        cut, again = files.copy(), files.copy()
        running = await ledger.read(lambda index: all_tables(index._file))
    first, first_journal = open_recovered(cut, NOTES)
    second, second_journal = open_recovered(again, NOTES)
    assert first_journal.sequence == second_journal.sequence > 30
    assert all_tables(first) == all_tables(second) == running
    first.close()
    second.close()


async def test_an_operation_this_release_does_not_know_is_named() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "x")
        cut = files.copy()
    with pytest.raises(NewerFormatError, match="operation 900"):
        open_recovered(cut)


async def test_a_missing_journal_beside_an_index_is_a_named_fault() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "x")
    for path in [path for path in files.contents if Path(path).parent.name == "journal"]:
        del files.contents[path]
    with pytest.raises(DamagedError, match="no journal without them"):
        open_recovered(files, NOTES)


async def test_a_missing_index_is_a_named_fault_once_segments_were_given_back() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "x")
        await ledger.checkpoint()
        await ledger.run(put, 2, "y")
    for path in [path for path in files.contents if Path(path).name.startswith("index.db")]:
        del files.contents[path]
    with pytest.raises(DamagedError, match=r"index.db is missing, and the journal begins after commit 2"):
        open_recovered(files, NOTES)


async def test_an_index_sealed_with_another_key_does_not_open_and_is_not_changed() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "x")
    before = bytes(files.contents[str(FOLDER / "index.db")])
    index = IndexFile(FOLDER / "index.db", b"?" * 32, (STORE_TABLES, NOTES), files)
    with pytest.raises(DamagedError, match="another key"):
        index.open()
    index.close()
    assert bytes(files.contents[str(FOLDER / "index.db")]) == before

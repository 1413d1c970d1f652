"""The ledger's promises, over files in memory and, once, over real ones."""

from pathlib import Path

import pytest
import trio
import trio.testing

from relay.base.config import StoreConfig
from relay.base.errors import ForbiddenError, StateLockedError
from relay.store.ledger import Change, Index, Ledger, open_ledger
from relay.store.tables import Operation, Tables
from tests.fakes.files import MemoryFiles
from tests.fakes.ledger import KEYRING, memory_ledger

PUT = Operation(900, "INSERT INTO notes(id, text) VALUES (?, ?)")
SEEN = Operation(901, "UPDATE notes SET seen = ? WHERE id = ?", lazy=True)
GLIMPSED = Operation(902, "UPDATE notes SET seen = ? WHERE id = ?", lazy=True, patient=True)
NOTES = Tables(
    "notes",
    ("CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL, seen INTEGER DEFAULT 0)",),
    (PUT, SEEN, GLIMPSED),
)


def put(change: Change, number: int, text: str) -> int:
    change.write(PUT, number, text)
    change.wake(("note", number))
    return change.position


def put_and_refuse(change: Change, number: int) -> None:
    change.write(PUT, number, "x")
    change.intern("@new:example")
    raise ForbiddenError("not you")


def texts(index: Index) -> list[str]:
    return [text for (text,) in index.rows("SELECT text FROM notes ORDER BY id")]


async def test_what_run_wrote_is_read_again_after_a_restart() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "hello")
        boot = ledger.boot
    async with memory_ledger(NOTES, files=files) as ledger:
        assert await ledger.read(texts) == ["hello"]
        assert ledger.boot == boot + 1


async def test_a_cut_without_a_clean_stop_loses_nothing_acknowledged() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        for number in range(20):
            await ledger.run(put, number, f"note {number}")
        cut = files.copy()
        position = ledger.position
    async with memory_ledger(NOTES, files=cut) as ledger:
        assert await ledger.read(texts) == [f"note {number}" for number in range(20)]
        assert ledger.position > position


async def test_a_step_that_raises_leaves_nothing_behind() -> None:
    async with memory_ledger(NOTES) as ledger:
        with pytest.raises(ForbiddenError):
            await ledger.run(put_and_refuse, 1)
        assert await ledger.read(texts) == []
        assert await ledger.read(lambda index: index.find("@new:example")) is None


async def test_a_change_number_is_one_more_than_the_one_before_and_grows_over_a_restart() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        first = await ledger.run(put, 1, "a")
        assert await ledger.run(put, 2, "b") == first + 1
        assert ledger.position == ledger.durable_position == first + 1
    async with memory_ledger(NOTES, files=files) as ledger:
        assert await ledger.run(put, 3, "c") > first + 2


async def test_names_get_small_numbers_that_last() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        first = await ledger.run(lambda change: [change.intern("@a:x"), change.intern("@b:x"), change.intern("@a:x")])
        assert first == [1, 2, 1]
        cut = files.copy()
    async with memory_ledger(NOTES, files=cut) as ledger:
        assert await ledger.read(lambda index: (index.find("@b:x"), index.name(1))) == (2, "@a:x")
        assert await ledger.run(lambda change: change.intern("@c:x")) == 3


async def test_a_watch_hears_of_a_durable_change_and_misses_none() -> None:
    async with memory_ledger(NOTES) as ledger:
        with ledger.watch(("note", 1), ("note", 2)) as watch:
            await ledger.run(put, 1, "a")
            await ledger.run(put, 3, "c")
            await ledger.run(put, 2, "b")
            with trio.fail_after(1):
                assert await watch.wait() == {("note", 1), ("note", 2)}
            with trio.move_on_after(0.01) as scope:
                await watch.wait()
            assert scope.cancelled_caught


async def test_a_lazy_change_waits_for_the_next_commit(autojump_clock: trio.testing.MockClock) -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        await ledger.run(put, 1, "a")
        durable = ledger.durable_position
        await ledger.run(lambda change: change.write(SEEN, 1, 1))
        assert await ledger.read(lambda index: index.value("SELECT seen FROM notes")) == 1
        assert ledger.durable_position == durable
        await trio.sleep(29)
        assert ledger.durable_position == durable
        await trio.sleep(2)
        assert ledger.durable_position == ledger.position == durable + 1


async def test_everything_waiting_forms_one_commit(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_ledger(NOTES) as ledger:
        begun = ledger.status().journal_bytes
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ledger.run, put, number, "x")
        assert ledger.status().journal_bytes - begun <= 3 * 4096


async def test_the_real_files_hold_a_ledger_for_one_process_only(tmp_path: Path) -> None:
    config = StoreConfig(journal_segments=4)

    async def use(ledger: Ledger, number: int) -> list[str]:
        await ledger.run(put, number, f"note {number}")
        return await ledger.read(texts)

    async with open_ledger(tmp_path, KEYRING, (NOTES,), config, segment_bytes=256 * 1024) as ledger:
        assert await use(ledger, 1) == ["note 1"]
        with pytest.raises(StateLockedError):
            async with open_ledger(tmp_path, KEYRING, (NOTES,), config, segment_bytes=256 * 1024):
                pass
    async with open_ledger(tmp_path, KEYRING, (NOTES,), config, segment_bytes=256 * 1024) as ledger:
        assert await use(ledger, 2) == ["note 1", "note 2"]


async def test_more_journal_than_there_are_segments_passes_through() -> None:
    files = MemoryFiles()
    async with memory_ledger(NOTES, files=files) as ledger:
        for number in range(60):
            await ledger.run(put, number, "x" * 60_000)
        status = ledger.status()
        assert status.checkpoints >= 2
        assert status.segments_used < status.segments
        cut = files.copy()
    async with memory_ledger(NOTES, files=cut) as ledger:
        assert len(await ledger.read(texts)) == 60
